"""The k largest items without sorting all: keep k candidates in a heap with the smallest on top."""

import heapq
from collections.abc import Iterable, Sequence

from llmguide.coding.patterns.structures import Key, count


def k_largest(numbers: Iterable[int], k: int) -> list[int]:
    """Return the k largest numbers, largest first.

    Invariant: the heap holds the k largest so far, with the smallest on top, so a new number has to beat only
    that one. O(n log k) steps and O(k) memory, so the numbers may be a stream.

    >>> k_largest([3, 1, 5, 2, 4], 2), k_largest([1], 3), k_largest([1], 0)
    ([5, 4], [1], [])
    """
    heap: list[int] = []
    for number in numbers:
        if len(heap) < k:
            heapq.heappush(heap, number)
        elif heap and number > heap[0]:
            heapq.heapreplace(heap, number)
    return sorted(heap, reverse=True)


def top_k_frequent(items: Sequence[Key], k: int) -> list[Key]:
    """Return the k most frequent items; of equally frequent ones, the first seen comes first.

    Idea: no item occurs more than n times, so n + 1 buckets sort by count without comparisons: O(n).

    >>> top_k_frequent("banana", 2)
    ['a', 'n']
    """
    buckets: list[list[Key]] = [[] for _ in range(len(items) + 1)]
    for item, number in count(items).items():
        buckets[number].append(item)
    found: list[Key] = []
    for bucket in reversed(buckets):
        found += bucket
        if len(found) >= k:
            break
    return found[:k]
