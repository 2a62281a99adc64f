"""The time complexity that each pattern claims, with inputs of every size to measure it on.

Inputs are the worst cases of a pattern where they are known, and random with a fixed seed otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from llmguide.coding.complexity import SIZES, SMALL_SIZES, Growth, measure
from llmguide.coding.patterns import (
    backtracking,
    dynamic,
    graphs,
    intervals,
    linked_lists,
    searching,
    sliding_window,
    sorting,
    structures,
    top_k,
    trees,
    two_pointers,
)

MIDDLE_SIZES = (8, 12, 16, 24, 32, 48, 64, 96)  # for quadratic growth


@dataclass(frozen=True)
class Claim:
    """A pattern, the growth it claims, and inputs to check it on.

    Attributes:
        pattern: Name of the family.
        name: Name of the function or operation.
        growth: A key of `llmguide.coding.complexity.CLASSES`.
        n: Meaning of the input size n, such as "nodes".
        function: Function to measure.
        make_input: Function from n to the arguments.
        sizes: Input sizes to measure at.
    """

    pattern: str
    name: str
    growth: str
    n: str
    function: Callable[..., object]
    make_input: Callable[[int], tuple[object, ...]]
    sizes: Sequence[int] = SIZES

    def measured(self) -> Growth:
        """Count the steps at each size and say how they grow."""
        return measure(self.function, self.make_input, self.sizes)


def _numbers(n: int) -> list[int]:
    """Return n numbers between 0 and 10 n, the same for every call."""
    random = Random(n)
    return [random.randrange(10 * n) for _ in range(n)]


def _letters(n: int) -> str:
    """Return n letters of four, the same for every call."""
    return "".join(Random(n).choices("abcd", k=n))


def _heap_of(n: int) -> structures.Heap:
    """Return a heap in which a pop goes all the way down."""
    heap = structures.Heap()
    for number in range(n):
        heap.push(number)
    return heap


def _sparse_graph(n: int) -> dict[int, list[int]]:
    """Return n nodes, each with an edge to the next and one to some later node: no cycle."""
    random = Random(n)
    return {i: [i + 1, random.randrange(i + 1, n)] if i + 1 < n else [] for i in range(n)}


def _drain(n: int) -> None:
    queue: structures.Queue[int] = structures.Queue()
    for number in range(n):
        queue.push(number)
    for _ in range(n):
        queue.pop()


def _heap_sort(items: Sequence[int]) -> list[int]:
    heap = structures.Heap()
    for item in items:
        heap.push(item)
    return [heap.pop() for _ in items]


def _connect(n: int) -> None:
    sets = structures.UnionFind(n)
    random = Random(n)
    for _ in range(n):
        sets.union(random.randrange(n), random.randrange(n))


def _many_quickselects(items: Sequence[int]) -> None:
    for seed in range(20):  # a single random input could be easy by chance
        sorting.quickselect(items, len(items) // 2, Random(seed))


def _walk(tree: trees.Tree) -> list[int]:
    return list(trees.in_order(tree))


def _tree(n: int) -> tuple[trees.Tree | None]:
    return (trees.build(range(n)),)


def _grid(n: int) -> tuple[list[str]]:
    cells = _letters(n * n).translate(str.maketrans("abcd", "#.#."))
    return ([cells[i : i + n] for i in range(0, n * n, n)],)


# fmt: off
CLAIMS = (
    Claim("hash map", "count", "O(n)", "items", structures.count, lambda n: (_letters(n),)),
    Claim("hash map", "two_sum", "O(n)", "numbers", structures.two_sum, lambda n: (range(n), 10 * n)),
    Claim("stack", "is_balanced", "O(n)", "letters", structures.is_balanced, lambda n: ("()" * (n // 2),)),
    Claim("queue", "n pushes and pops", "O(n)", "items", _drain, lambda n: (n,)),
    Claim("heap", "pop", "O(log n)", "items", structures.Heap.pop, lambda n: (_heap_of(n),)),
    Claim("heap", "heap sort", "O(n log n)", "items", _heap_sort, lambda n: (range(n, 0, -1),)),
    Claim("union-find", "n unions", "O(n)", "items", _connect, lambda n: (n,)),
    Claim("linked list", "reverse", "O(n)", "links", linked_lists.reverse,
          lambda n: (linked_lists.linked(range(n)),)),
    Claim("fast and slow pointers", "middle", "O(n)", "links", linked_lists.middle,
          lambda n: (linked_lists.linked(range(n)),)),
    Claim("binary search", "binary_search", "O(log n)", "items", searching.binary_search,
          lambda n: (range(n), n - 1)),
    Claim("binary search", "search_rotated", "O(log n)", "items", searching.search_rotated,
          lambda n: ([*range(n // 2, n), *range(n // 2)], n // 2 - 1)),
    Claim("sorting", "merge_sort", "O(n log n)", "items", sorting.merge_sort, lambda n: (_numbers(n),)),
    Claim("sorting", "quicksort", "O(n log n)", "items", sorting.quicksort,
          lambda n: (_numbers(n), Random(n))),
    Claim("sorting", "20 quickselects", "O(n)", "items", _many_quickselects, lambda n: (_numbers(n),)),
    Claim("dynamic programming", "coin_change", "O(n)", "amount", dynamic.coin_change,
          lambda n: ([1, 3, 4], n)),
    Claim("dynamic programming", "longest_common_subsequence", "O(n^2)", "letters of each",
          dynamic.longest_common_subsequence, lambda n: (_letters(n), _letters(n + 1)[:n]), MIDDLE_SIZES),
    Claim("dynamic programming", "edit_distance", "O(n^2)", "letters of each", dynamic.edit_distance,
          lambda n: (_letters(n), _letters(n + 1)[:n]), MIDDLE_SIZES),
    Claim("dynamic programming", "knapsack", "O(n^2)", "items and capacity", dynamic.knapsack,
          lambda n: ([(1, 1)] * n, n), MIDDLE_SIZES),
    Claim("dynamic programming", "longest_palindrome", "O(n^2)", "letters", dynamic.longest_palindrome,
          lambda n: ("a" * n,), MIDDLE_SIZES),
    Claim("dynamic programming", "fibonacci", "O(n)", "n", dynamic.fibonacci, lambda n: (n,)),
    Claim("graphs", "bfs", "O(n)", "nodes, two edges each", graphs.bfs, lambda n: (_sparse_graph(n), 0)),
    Claim("graphs", "dfs", "O(n)", "nodes, two edges each", graphs.dfs, lambda n: (_sparse_graph(n), 0)),
    Claim("graphs", "topological_order", "O(n)", "nodes, two edges each", graphs.topological_order,
          lambda n: (_sparse_graph(n),)),
    Claim("graphs", "has_cycle", "O(n)", "nodes, two edges each", graphs.has_cycle,
          lambda n: (_sparse_graph(n),)),
    Claim("graphs", "count_islands", "O(n^2)", "rows and columns", graphs.count_islands, _grid, MIDDLE_SIZES),
    Claim("trees", "in_order", "O(n)", "nodes", _walk, _tree),
    Claim("trees", "is_search_tree", "O(n)", "nodes", trees.is_search_tree, _tree),
    Claim("trees", "is_balanced", "O(n)", "nodes", trees.is_balanced, _tree),
    Claim("trees", "search, balanced", "O(log n)", "nodes", trees.search, lambda n: (*_tree(n), -1)),
    Claim("trees", "serialize", "O(n)", "nodes", trees.serialize, _tree),
    Claim("two pointers", "two_sum_sorted", "O(n)", "numbers", two_pointers.two_sum_sorted,
          lambda n: (range(n), 2 * n)),
    Claim("two pointers", "largest_container", "O(n)", "walls", two_pointers.largest_container,
          lambda n: (_numbers(n),)),
    Claim("sliding window", "max_sum", "O(n)", "numbers", sliding_window.max_sum, lambda n: (_numbers(n), 4)),
    Claim("sliding window", "longest_without_repeat", "O(n)", "letters",
          sliding_window.longest_without_repeat, lambda n: (_letters(n),)),
    Claim("sliding window", "shortest_covering", "O(n)", "letters", sliding_window.shortest_covering,
          lambda n: (_letters(n), "abc")),
    Claim("intervals", "insert_interval", "O(n)", "intervals", intervals.insert_interval,
          lambda n: ([(2 * i, 2 * i + 1) for i in range(n)], (n, n + 4))),
    Claim("top k", "top_k_frequent", "O(n)", "items", top_k.top_k_frequent, lambda n: (_numbers(n), n)),
    Claim("backtracking", "subsets", "O(2^n)", "items", backtracking.subsets,
          lambda n: (range(n),), SMALL_SIZES),
)
# fmt: on
