"""Binary search: halve the search range until one candidate remains.

All functions share one invariant: everything before ``low`` fails the test, and everything from ``high`` on
passes it. Each step moves one of them to the middle, so the gap halves: O(log n) steps.
"""

from collections.abc import Callable, Sequence


def first_true(low: int, high: int, test: Callable[[int], bool]) -> int:
    """Return the first number in [low, high) that passes a monotone test, or high if none does.

    This can search a space of answers, such as the smallest sufficient capacity, as well as a list. O(log n)
    tests.

    >>> first_true(0, 100, lambda x: x * x >= 50), first_true(0, 5, lambda x: False)
    (8, 5)
    """
    while low < high:
        middle = (low + high) // 2
        if test(middle):
            high = middle
        else:
            low = middle + 1
    return low


def binary_search(items: Sequence[int], target: int) -> int | None:
    """Return the first position of the target in a sorted list, None if it is not there. O(log n) steps.

    >>> binary_search([1, 3, 3, 5], 3), binary_search([1, 3, 3, 5], 4), binary_search([], 1)
    (1, None, None)
    """
    position = first_true(0, len(items), lambda i: items[i] >= target)
    return position if position < len(items) and items[position] == target else None


def rotation(items: Sequence[int]) -> int:
    """Return the position of the smallest item of a rotated sorted list of distinct items.

    Idea: the items from there on are at most the last one, those before are larger. O(log n) steps.

    >>> rotation([4, 5, 1, 2, 3]), rotation([1, 2, 3]), rotation([])
    (2, 0, 0)
    """
    return first_true(0, len(items), lambda i: items[i] <= items[-1])


def search_rotated(items: Sequence[int], target: int) -> int | None:
    """Return the position of the target in a rotated sorted list of distinct items, None if it is not there.

    Idea: find the rotation, then search with shifted positions. O(log n) steps.

    >>> search_rotated([4, 5, 1, 2, 3], 5), search_rotated([4, 5, 1, 2, 3], 0)
    (1, None)
    """
    n, start = len(items), rotation(items)
    position = first_true(0, n, lambda i: items[(start + i) % n] >= target)
    if position == n or items[(start + position) % n] != target:
        return None
    return (start + position) % n
