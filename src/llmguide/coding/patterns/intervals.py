"""Intervals (start, end): after sorting by start, compare each only with the last one kept.

Merged intervals are closed, so (1, 2) and (2, 3) touch; meetings are half-open, so one may start when another
ends.
"""

import heapq
from collections.abc import Sequence

Interval = tuple[int, int]


def merge_intervals(intervals: Sequence[Interval]) -> list[Interval]:
    """Join intervals that overlap or touch.

    Invariant: the merged intervals are disjoint, and all but the last end before the next start. O(n log n)
    steps.

    >>> merge_intervals([(8, 10), (1, 3), (2, 6), (6, 7)])
    [(1, 7), (8, 10)]
    """
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def insert_interval(merged: Sequence[Interval], new: Interval) -> list[Interval]:
    """Add an interval to sorted disjoint intervals. O(n) steps: no sorting is needed.

    >>> insert_interval([(1, 3), (6, 9)], (2, 5))
    [(1, 5), (6, 9)]
    """
    start, end = new
    before, after = [], []
    for low, high in merged:
        if high < start:
            before.append((low, high))
        elif low > end:
            after.append((low, high))
        else:
            start, end = min(start, low), max(end, high)
    return [*before, (start, end), *after]


def rooms_needed(meetings: Sequence[Interval]) -> int:
    """Return the number of rooms that meetings need.

    Invariant: the heap holds the end times of the rooms in use, earliest on top. O(n log n) steps.

    >>> rooms_needed([(0, 30), (5, 10), (10, 20)])
    2
    """
    free_at: list[int] = []
    for start, end in sorted(meetings):
        if free_at and free_at[0] <= start:
            heapq.heapreplace(free_at, end)
        else:
            heapq.heappush(free_at, end)
    return len(free_at)
