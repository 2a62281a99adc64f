"""Every pattern against brute force or the standard library, on inputs that hypothesis draws."""

import heapq
import itertools
import math
from collections import Counter, deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.coding.patterns import (
    backtracking,
    dynamic,
    edge_cases,
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

small = st.integers(-9, 9)
numbers = st.lists(small, max_size=12)
words = st.text("abc", max_size=9)
graph = st.integers(1, 7).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, n - 1), max_size=4), min_size=n, max_size=n).map(
        lambda rows: dict(enumerate(rows))
    )
)
quick = settings(max_examples=50, deadline=None)


def stretches(items):
    return [items[i:j] for i in range(len(items)) for j in range(i + 1, len(items) + 1)]


# structures


@quick
@given(words)
def test_count_is_counter(text):
    assert structures.count(text) == Counter(text)


@quick
@given(numbers, small)
def test_two_sum_finds_a_pair_exactly_if_there_is_one(items, target):
    pairs = [(i, j) for i, j in itertools.combinations(range(len(items)), 2) if items[i] + items[j] == target]
    found = structures.two_sum(items, target)
    assert found in pairs if pairs else found is None


@quick
@given(st.text("()[]x", max_size=8))
def test_balanced_brackets_vanish_when_pairs_are_removed(text):
    rest = text.replace("x", "")
    while (shorter := rest.replace("()", "").replace("[]", "")) != rest:
        rest = shorter
    assert structures.is_balanced(text) == (rest == "")


@quick
@given(st.lists(st.one_of(st.none(), small)))
def test_queue_is_deque(operations):
    queue, peer = structures.Queue(), deque()
    for item in operations:
        if item is not None:
            queue.push(item)
            peer.append(item)
        elif peer:
            assert queue.pop() == peer.popleft()
        assert len(queue) == len(peer)


@quick
@given(st.lists(st.one_of(st.none(), small)))
def test_heap_is_heapq(operations):
    heap, peer = structures.Heap(), []
    for item in operations:
        if item is not None:
            heap.push(item)
            heapq.heappush(peer, item)
        elif peer:
            assert heap.pop() == heapq.heappop(peer)
        assert len(heap) == len(peer)


@pytest.mark.parametrize("empty", [structures.Queue, structures.Heap])
def test_nothing_can_be_taken_from_an_empty_one(empty):
    with pytest.raises(IndexError):
        empty().pop()


@quick
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_union_find_names_the_parts_that_a_walk_finds(edges):
    sets = structures.UnionFind(8)
    merged = [sets.union(a, b) for a, b in edges]
    near = {i: [b for a, b in [*edges, *[(b, a) for a, b in edges]] if a == i] for i in range(8)}
    for a in range(8):
        assert {b for b in range(8) if sets.find(a) == sets.find(b)} == set(graphs.bfs(near, a))
    assert sets.n_sets == 8 - sum(merged) == len({sets.find(a) for a in range(8)})


# linked lists


@quick
@given(numbers)
def test_linked_lists_turn_round_and_have_a_middle(items):
    backwards = linked_lists.reverse(linked_lists.linked(items))
    assert list(backwards or []) == items[::-1]
    middle = linked_lists.middle(linked_lists.linked(items))
    assert (middle.item if middle else None) == (items[len(items) // 2] if items else None)


def test_happy_numbers_are_those_of_the_oeis():
    happy = [n for n in range(1, 50) if linked_lists.is_happy(n)]
    assert happy == [1, 7, 10, 13, 19, 23, 28, 31, 32, 44, 49]  # A007770


# searching and sorting


@quick
@given(numbers, small)
def test_binary_search_is_index(items, target):
    items = sorted(items)
    assert searching.binary_search(items, target) == (items.index(target) if target in items else None)


@quick
@given(st.sets(small), st.integers(0, 30), small)
def test_rotated_search_is_index(items, turn, target):
    items = sorted(items)
    turn = turn % len(items) if items else 0
    rotated = items[turn:] + items[:turn]
    assert searching.rotation(rotated) == (rotated.index(min(items)) if items else 0)
    assert searching.search_rotated(rotated, target) == (rotated.index(target) if target in rotated else None)


@quick
@given(numbers, st.integers(0, 2**32))
def test_sorts_are_sorted(items, seed):
    assert sorting.merge_sort(items) == sorted(items)
    ordered = items.copy()
    sorting.quicksort(ordered, Random(seed))
    assert ordered == sorted(items)
    for k in range(len(items)):
        assert sorting.quickselect(items, k, Random(seed)) == sorted(items)[k]


def test_quickselect_refuses_positions_that_are_none():
    with pytest.raises(ValueError, match="k = 2 is not a position in a list of 2"):
        sorting.quickselect([1, 2], 2, Random(0))


def test_merge_sort_is_stable():
    class Card(int):
        pass

    cards = [Card(2), Card(1), Card(2), Card(1)]
    assert [id(card) for card in sorting.merge_sort(cards)] == [id(card) for card in sorted(cards)]


# dynamic programming


@quick
@given(st.lists(st.integers(1, 7), max_size=3, unique=True), st.integers(0, 12))
def test_coin_change_by_trying_all(coins, amount):
    tries = (
        n
        for n in range(amount + 1)
        for c in itertools.combinations_with_replacement(coins, n)
        if sum(c) == amount
    )
    assert dynamic.coin_change(coins, amount) == next(tries, None)


def is_subsequence(short, long):
    letters = iter(long)
    return all(letter in letters for letter in short)


@quick
@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_longest_common_subsequence_by_trying_all(a, b):
    found = dynamic.longest_common_subsequence(a, b)
    assert is_subsequence(found, a)
    assert is_subsequence(found, b)
    common = (n for n in range(len(a), -1, -1) for c in itertools.combinations(a, n) if is_subsequence(c, b))
    assert len(found) == next(common)


@quick
@given(st.text("ab", max_size=5), st.text("ab", max_size=5))
def test_edit_distance_from_its_definition(a, b):
    def distance(x, y):
        if not x or not y:
            return len(x) + len(y)
        replaced = distance(x[1:], y[1:]) + (x[0] != y[0])
        return min(replaced, distance(x[1:], y) + 1, distance(x, y[1:]) + 1)

    assert dynamic.edit_distance(a, b) == distance(a, b)


@quick
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=6), st.integers(0, 12))
def test_knapsack_by_trying_all(items, capacity):
    choices = (c for n in range(len(items) + 1) for c in itertools.combinations(items, n))
    best = max(sum(v for _, v in c) for c in choices if sum(w for w, _ in c) <= capacity)
    assert dynamic.knapsack(items, capacity) == best


@quick
@given(words)
def test_longest_palindrome_by_trying_all(text):
    palindromes = [part for part in stretches(text) if part == part[::-1]]
    assert dynamic.longest_palindrome(text) == max(palindromes, key=len, default="")


def test_fibonacci_both_ways():
    assert [dynamic.fibonacci(n) for n in range(15)] == [dynamic.fibonacci_naive(n) for n in range(15)]


# graphs


def distances(near):
    """All shortest paths by Floyd and Warshall; near: node to [(neighbor, cost)]."""
    n = len(near)
    cost = [[0 if i == j else math.inf for j in range(n)] for i in range(n)]
    for i, edges in near.items():
        for j, c in edges:
            cost[i][j] = min(cost[i][j], c)
    for k, i, j in itertools.product(range(n), repeat=3):
        cost[i][j] = min(cost[i][j], cost[i][k] + cost[k][j])
    return cost


@quick
@given(graph)
def test_bfs_and_dfs_reach_what_can_be_reached(near):
    cost = distances({i: [(j, 1) for j in js] for i, js in near.items()})
    reached = {j: d for j, d in enumerate(cost[0]) if d < math.inf}
    assert graphs.bfs(near, 0) == reached
    assert list(graphs.bfs(near, 0).values()) == sorted(reached.values())
    assert sorted(graphs.dfs(near, 0)) == sorted(reached)


@quick
@given(graph)
def test_dfs_is_the_recursive_walk(near):
    seen = []

    def walk(node):
        if node not in seen:
            seen.append(node)
            for neighbor in near[node]:
                walk(neighbor)

    walk(0)
    assert graphs.dfs(near, 0) == seen


@quick
@given(graph)
def test_orders_exist_exactly_without_cycles(near):
    closed = distances({i: [(j, 1) for j in js] for i, js in near.items()})
    cyclic = any(closed[j][i] < math.inf for i, js in near.items() for j in js)
    order = graphs.topological_order(near)
    assert graphs.has_cycle(near) == cyclic == (order is None)
    if order is not None:
        assert sorted(order) == sorted(near)
        assert all(order.index(i) < order.index(j) for i, js in near.items() for j in js)


@quick
@given(st.integers(0, 5).flatmap(lambda n: st.lists(st.text("#.", min_size=n, max_size=n), max_size=5)))
def test_islands_by_union_find(grid):
    cells = [(r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell == "#"]
    sets = structures.UnionFind(len(cells))
    for (i, (r, c)), (j, (s, d)) in itertools.combinations(enumerate(cells), 2):
        if abs(r - s) + abs(c - d) == 1:
            sets.union(i, j)
    assert graphs.count_islands(grid) == sets.n_sets


# trees

tree = st.recursive(st.none(), lambda t: st.builds(trees.Tree, small, t, t), max_leaves=12)


def walked(node):
    return [] if node is None else [*walked(node.left), node.item, *walked(node.right)]


def height(node):
    return 0 if node is None else 1 + max(height(node.left), height(node.right))


@quick
@given(tree)
def test_in_order_is_the_recursive_walk(root):
    assert list(trees.in_order(root)) == walked(root)


@quick
@given(tree)
def test_search_trees_and_balance_from_their_definitions(root):
    def ordered(node, low, high):
        if node is None:
            return True
        return (
            low < node.item < high
            and ordered(node.left, low, node.item)
            and ordered(node.right, node.item, high)
        )

    def balanced(node):
        if node is None:
            return True
        gap = abs(height(node.left) - height(node.right))
        return gap <= 1 and balanced(node.left) and balanced(node.right)

    assert trees.is_search_tree(root) == ordered(root, -math.inf, math.inf)
    assert trees.is_balanced(root) == balanced(root)


@quick
@given(st.sets(small), small)
def test_search_finds_what_is_in_a_tree(items, wanted):
    assert trees.search(trees.build(sorted(items)), wanted) == (wanted in items)


@quick
@given(st.lists(small, max_size=20))
def test_built_trees_are_balanced_and_in_order(items):
    root = trees.build(items)
    assert list(trees.in_order(root)) == items
    assert trees.is_balanced(root)


# two pointers, sliding window


@quick
@given(numbers, small)
def test_sorted_two_sum_finds_a_pair_exactly_if_there_is_one(items, target):
    items = sorted(items)
    pairs = [(i, j) for i, j in itertools.combinations(range(len(items)), 2) if items[i] + items[j] == target]
    found = two_pointers.two_sum_sorted(items, target)
    assert found in pairs if pairs else found is None


@quick
@given(st.lists(st.integers(0, 9), max_size=12))
def test_largest_container_by_trying_all_pairs(walls):
    pairs = itertools.combinations(range(len(walls)), 2)
    held = [(j - i) * min(walls[i], walls[j]) for i, j in pairs]
    assert two_pointers.largest_container(walls) == max(held, default=0)


@quick
@given(st.text("aA1 ,", max_size=8))
def test_is_palindrome_by_reversing(text):
    kept = [letter.lower() for letter in text if letter.isalnum()]
    assert two_pointers.is_palindrome(text) == (kept == kept[::-1])


@quick
@given(numbers, st.integers(1, 12))
def test_max_sum_by_trying_all(items, width):
    if width > len(items):
        with pytest.raises(ValueError, match=f"no window of width {width}"):
            sliding_window.max_sum(items, width)
    else:
        assert sliding_window.max_sum(items, width) == max(
            sum(s) for s in stretches(items) if len(s) == width
        )


@quick
@given(words)
def test_longest_without_repeat_by_trying_all(text):
    different = [len(s) for s in stretches(text) if len(set(s)) == len(s)]
    assert sliding_window.longest_without_repeat(text) == max(different, default=0)


@quick
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(-2, 30))
def test_longest_with_sum_at_most_by_trying_all(items, limit):
    within = [len(s) for s in stretches(items) if sum(s) <= limit]
    assert sliding_window.longest_with_sum_at_most(items, limit) == max(within, default=0)


def test_sliding_sums_refuse_negative_numbers():
    with pytest.raises(ValueError, match="not -1"):
        sliding_window.longest_with_sum_at_most([1, -1], 3)


@quick
@given(words, st.text("abc", max_size=4))
def test_shortest_covering_by_trying_all(text, letters):
    covering = [s for s in stretches(text) if not Counter(letters) - Counter(s)]
    expected = min(covering, key=len, default="") if letters else ""
    assert sliding_window.shortest_covering(text, letters) == expected


# intervals, top k

spans = st.lists(
    st.tuples(st.integers(0, 15), st.integers(0, 5)).map(lambda s: (s[0], s[0] + s[1])), max_size=8
)


def covered(items):
    """Half-steps that closed intervals cover, so that touching ones join and neighbors do not."""
    return {x for low, high in items for x in range(2 * low, 2 * high + 1)}


@quick
@given(spans, st.tuples(st.integers(0, 15), st.integers(0, 5)).map(lambda s: (s[0], s[0] + s[1])))
def test_merged_intervals_cover_the_same_and_are_apart(items, new):
    merged = intervals.merge_intervals(items)
    assert covered(merged) == covered(items)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(merged))
    assert intervals.insert_interval(merged, new) == intervals.merge_intervals([*items, new])


@quick
@given(spans)
def test_rooms_are_the_most_meetings_at_one_time(items):
    meetings = [(low, high) for low, high in items if low < high]
    at_once = [sum(low <= t < high for low, high in meetings) for t in range(21)]
    assert intervals.rooms_needed(meetings) == max(at_once)


@quick
@given(numbers, st.integers(0, 14))
def test_k_largest_is_nlargest(items, k):
    assert top_k.k_largest(items, k) == heapq.nlargest(k, items)


@quick
@given(words, st.integers(0, 4))
def test_top_k_frequent_is_most_common(text, k):
    assert top_k.top_k_frequent(text, k) == [letter for letter, _ in Counter(text).most_common(k)]


# backtracking, edge cases


@pytest.mark.parametrize("n", range(6))
def test_subsets_and_permutations_are_those_of_itertools(n):
    expected = {c for k in range(n + 1) for c in itertools.combinations(range(n), k)}
    assert len(backtracking.subsets(range(n))) == 2**n
    assert set(map(tuple, backtracking.subsets(range(n)))) == expected
    assert len(backtracking.permutations(range(n))) == math.factorial(n)
    assert set(map(tuple, backtracking.permutations(range(n)))) == set(itertools.permutations(range(n)))


def test_queens_are_as_many_as_in_the_oeis():
    assert [len(list(backtracking.queens(n))) for n in range(8)] == [1, 1, 0, 0, 2, 10, 4, 40]  # A000170


@quick
@given(numbers)
def test_second_largest_by_sorting(items):
    different = sorted(set(items))
    assert edge_cases.second_largest(items) == (different[-2] if len(different) > 1 else None)
