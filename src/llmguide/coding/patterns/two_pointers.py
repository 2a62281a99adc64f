"""Two pointers: two positions that only move toward each other, so not all pairs have to be tried.

Each move must be safe: it may only discard pairs that cannot be the answer. Then n moves are enough.
"""

from collections.abc import Sequence


def two_sum_sorted(numbers: Sequence[int], target: int) -> tuple[int, int] | None:
    """Find two positions of a sorted list whose numbers add up to the target.

    Invariant: every pair with a number outside [low, high] has been ruled out: if the sum is too small, the
    smallest number is too small with every partner left. O(n) steps, O(1) memory.

    >>> two_sum_sorted([2, 7, 11, 15], 18), two_sum_sorted([1, 2], 4)
    ((1, 2), None)
    """
    low, high = 0, len(numbers) - 1
    while low < high:
        total = numbers[low] + numbers[high]
        if total == target:
            return low, high
        if total < target:
            low += 1
        else:
            high -= 1
    return None


def largest_container(heights: Sequence[int]) -> int:
    """Return the largest amount of water between two walls: distance times the height of the lower wall.

    Safe move: the lower wall holds no more water with any nearer partner, so it is discarded. O(n) steps.

    >>> largest_container([1, 8, 6, 2, 5, 4, 8, 3, 7])
    49
    """
    low, high, best = 0, len(heights) - 1, 0
    while low < high:
        best = max(best, (high - low) * min(heights[low], heights[high]))
        if heights[low] < heights[high]:
            low += 1
        else:
            high -= 1
    return best


def is_palindrome(text: str) -> bool:
    """Return whether the letters and digits read the same backwards, ignoring case. O(n) steps.

    >>> is_palindrome("A man, a plan, a canal: Panama"), is_palindrome("ab")
    (True, False)
    """
    low, high = 0, len(text) - 1
    while low < high:
        if not text[low].isalnum():
            low += 1
        elif not text[high].isalnum():
            high -= 1
        elif text[low].lower() != text[high].lower():
            return False
        else:
            low, high = low + 1, high - 1
    return True
