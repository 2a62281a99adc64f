"""Sorting by divide and conquer, and selection without sorting."""

from collections.abc import Sequence
from random import Random


def merge(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """Merge two sorted lists.

    Invariant: the result is sorted and holds the smallest items of both. Equal items of the first list come
    first, so the sort is stable. O(n) steps.

    >>> merge([1, 4], [2, 3, 5])
    [1, 2, 3, 4, 5]
    """
    merged: list[int] = []
    i = j = 0
    while i < len(a) and j < len(b):
        if b[j] < a[i]:
            merged.append(b[j])
            j += 1
        else:
            merged.append(a[i])
            i += 1
    return [*merged, *a[i:], *b[j:]]


def merge_sort(items: Sequence[int]) -> list[int]:
    """Sort by merging sorted halves. O(n log n) steps in every case, O(n) memory.

    >>> merge_sort([3, 1, 2])
    [1, 2, 3]
    """
    if len(items) < 2:
        return list(items)
    half = len(items) // 2
    return merge(merge_sort(items[:half]), merge_sort(items[half:]))


def partition(items: list[int], low: int, high: int, pivot: int) -> tuple[int, int]:
    """Partition items[low:high] into below, equal and above the pivot; return the range of the equal ones.

    Invariant: [low, less) is below, [less, i) equal, [more, high) above (the Dutch national flag of
    Dijkstra). Separating equal items keeps the sort fast with many duplicates. O(n) steps.

    >>> items = [3, 1, 2, 1]; partition(items, 0, 4, 2), items
    ((2, 3), [1, 1, 2, 3])
    """
    less, i, more = low, low, high
    while i < more:
        if items[i] < pivot:
            items[less], items[i] = items[i], items[less]
            less += 1
            i += 1
        elif items[i] > pivot:
            more -= 1
            items[i], items[more] = items[more], items[i]
        else:
            i += 1
    return less, more


def quicksort(items: list[int], random: Random) -> None:
    """Sort in place around random pivots.

    O(n log n) expected steps for every input; O(n^2) with unlucky pivots, which no input can force. The
    larger side waits on the stack, so O(log n) memory.

    >>> items = [3, 1, 2]; quicksort(items, Random(0)); items
    [1, 2, 3]
    """
    stack = [(0, len(items))]
    while stack:
        low, high = stack.pop()
        if high - low > 1:
            less, more = partition(items, low, high, items[random.randrange(low, high)])
            stack += sorted([(low, less), (more, high)], key=lambda side: side[0] - side[1])


def quickselect(items: Sequence[int], k: int, random: Random) -> int:
    """Return the item that would be at position k if the list were sorted.

    Idea: quicksort that continues only on the side that contains position k. The sides shrink geometrically
    on
    average: O(n) expected steps, O(n^2) if the pivots are unlucky.

    >>> quickselect([5, 3, 9, 1], 1, Random(0))
    3
    """
    if not 0 <= k < len(items):
        raise ValueError(f"k = {k} is not a position in a list of {len(items)}; use 0 to {len(items) - 1}")
    rest = list(items)
    low, high = 0, len(rest)
    while True:
        pivot = rest[random.randrange(low, high)]
        less, more = partition(rest, low, high, pivot)
        if k < less:
            high = less
        elif k >= more:
            low = more
        else:
            return pivot
