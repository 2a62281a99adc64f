"""Data structures: hash map, stack, queue, heap, union-find.

Linked lists are in `llmguide.coding.patterns.linked_lists`.
"""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)
_PAIRS = {")": "(", "]": "[", "}": "{"}


def count(items: Iterable[Key]) -> dict[Key, int]:
    """Count equal items with a hash map.

    Invariant: the map holds the counts of the items read so far. O(n) expected steps.

    >>> count("banana")
    {'b': 1, 'a': 3, 'n': 2}
    """
    counts: dict[Key, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


def two_sum(numbers: list[int], target: int) -> tuple[int, int] | None:
    """Find two positions whose numbers add up to the target, with a hash map.

    Idea: each number needs exactly one partner. Invariant: the map holds the position of every number before
    this one. O(n) expected steps; trying all pairs takes O(n^2).

    >>> two_sum([2, 7, 11, 15], 9), two_sum([3, 3], 6), two_sum([3], 6)
    ((0, 1), (0, 1), None)
    """
    seen: dict[int, int] = {}
    for position, number in enumerate(numbers):
        if target - number in seen:
            return seen[target - number], position
        seen[number] = position
    return None


def is_balanced(text: str) -> bool:
    """Return whether brackets are balanced and properly nested, with a stack.

    Invariant: the stack holds the brackets still open, the innermost on top. O(n) steps.

    >>> is_balanced("f(a[0]{1})"), is_balanced("(]"), is_balanced("(")
    (True, False, False)
    """
    stack: list[str] = []
    for character in text:
        if character in "([{":
            stack.append(character)
        elif character in _PAIRS and (not stack or stack.pop() != _PAIRS[character]):
            return False
    return not stack


class Queue(Generic[T]):
    """A queue of two stacks: first in, first out.

    Idea: moving a stack onto another one reverses it. Invariant: the oldest item is on top of ``_out``, or at
    the bottom of ``_in`` if ``_out`` is empty. Each item moves once, so n operations take O(n) steps in
    total, although a single one may take that many. In practice use `collections.deque`.

    >>> queue = Queue()
    >>> for item in (1, 2): queue.push(item)
    >>> queue.pop(), len(queue)
    (1, 1)
    """

    def __init__(self) -> None:
        self._in: list[T] = []
        self._out: list[T] = []

    def __len__(self) -> int:
        return len(self._in) + len(self._out)

    def push(self, item: T) -> None:
        """Add an item at the end."""
        self._in.append(item)

    def pop(self) -> T:
        """Remove and return the oldest item; raises `IndexError` if there is none."""
        if not self._out:
            while self._in:
                self._out.append(self._in.pop())
        return self._out.pop()


class Heap:
    """A binary heap: the smallest item is on top.

    Idea: a complete tree stored in a list, where the children of i are 2i + 1 and 2i + 2. Invariant: no item
    is larger than its children. Push and pop repair one path from root to leaf: O(log n) steps. In practice
    use `heapq`.

    >>> heap = Heap()
    >>> for item in (3, 1, 2): heap.push(item)
    >>> heap.pop(), heap.pop(), len(heap)
    (1, 2, 1)
    """

    def __init__(self) -> None:
        self._items: list[int] = []

    def __len__(self) -> int:
        return len(self._items)

    def push(self, item: int) -> None:
        """Append an item and sift it up."""
        items = self._items
        items.append(item)
        i = len(items) - 1
        while i and items[i] < items[(i - 1) // 2]:
            items[i], items[(i - 1) // 2] = items[(i - 1) // 2], items[i]
            i = (i - 1) // 2

    def pop(self) -> int:
        """Remove and return the smallest item; raises `IndexError` if there is none.

        The last item takes its place and is sifted down.
        """
        items = self._items
        last = items.pop()
        if not items:
            return last
        smallest, items[0] = items[0], last
        i = 0
        while True:
            child = i
            for j in (2 * i + 1, 2 * i + 2):
                if j < len(items) and items[j] < items[child]:
                    child = j
            if child == i:
                return smallest
            items[i], items[child] = items[child], items[i]
            i = child


class UnionFind:
    """Union-find: disjoint sets that can be merged.

    Idea: each set is a tree, identified by its root. The smaller tree is attached to the root of the larger,
    so no path is longer than log2(n), and each search shortens its path. Invariant: two items are in the same
    set if and only if they have the same root. m operations take O(m a(n)) steps, where a, the inverse of
    Ackermann's function, is below 5 for every n that fits into a computer (Tarjan 1975,
    doi:10.1145/321879.321884).

    >>> sets = UnionFind(4)
    >>> sets.union(0, 1), sets.union(1, 0), sets.find(0) == sets.find(1), sets.n_sets
    (True, False, True, 3)
    """

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))
        self._size = [1] * n
        self.n_sets = n

    def find(self, item: int) -> int:
        """Return the root of an item's set."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def union(self, a: int, b: int) -> bool:
        """Merge the sets of two items; return whether they were different."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return False
        if self._size[a] < self._size[b]:
            a, b = b, a
        self._parent[b] = a
        self._size[a] += self._size[b]
        self.n_sets -= 1
        return True
