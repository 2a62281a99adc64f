"""Sliding window: a contiguous subarray whose ends only move forward, with its summary kept up to date.

Both ends move at most n times, so it takes O(n) steps. The condition must stay true when the window shrinks.
That fails for sums with negative numbers, so `longest_with_sum_at_most` refuses them.
"""

from collections.abc import Sequence


def max_sum(numbers: Sequence[int], width: int) -> int:
    """Return the largest sum of a window of a given width.

    Idea: each next window gains one number and loses one. O(n) steps.

    >>> max_sum([2, 1, 5, 1, 3, 2], 3)
    9

    Raises:
        ValueError: There is no window of that width.
    """
    if not 0 < width <= len(numbers):
        raise ValueError(f"no window of width {width} fits into {len(numbers)} numbers")
    total = best = sum(numbers[:width])
    for i in range(width, len(numbers)):
        total += numbers[i] - numbers[i - width]
        best = max(best, total)
    return best


def longest_without_repeat(text: str) -> int:
    """Return the length of the longest substring without a repeated character.

    Invariant: text[start:end] has no repeats, and no longer such substring ends here. The map of last
    positions lets the start jump; it must not jump back. O(n) steps.

    >>> longest_without_repeat("abcabcbb"), longest_without_repeat("abba"), longest_without_repeat("")
    (3, 2, 0)
    """
    last: dict[str, int] = {}
    start = best = 0
    for end, letter in enumerate(text):
        start = max(start, last.get(letter, -1) + 1)
        last[letter] = end
        best = max(best, end - start + 1)
    return best


def longest_with_sum_at_most(numbers: Sequence[int], limit: int) -> int:
    """Return the length of the longest subarray of nonnegative numbers whose sum is within a limit.

    Invariant: no longer subarray that ends here is within the limit. O(n) steps.

    >>> longest_with_sum_at_most([3, 1, 2, 1, 4], 4)
    3

    Raises:
        ValueError: A number is negative, so shrinking the window might increase the sum.
    """
    if numbers and min(numbers) < 0:
        raise ValueError(f"a sliding window needs numbers of 0 or more, not {min(numbers)}")
    start = total = best = 0
    for end, number in enumerate(numbers):
        total += number
        while total > limit and start <= end:
            total -= numbers[start]
            start += 1
        best = max(best, end - start + 1)
    return best


def shortest_covering(text: str, letters: str) -> str:
    """Return the first shortest substring that contains all given characters, with their multiplicity.

    Invariant: ``missing`` is the number of characters still missing; the start moves while it is 0. O(n)
    steps.

    >>> shortest_covering("ADOBECODEBANC", "ABC"), shortest_covering("a", "aa"), shortest_covering("a", "")
    ('BANC', '', '')
    """
    need: dict[str, int] = {}
    for letter in letters:
        need[letter] = need.get(letter, 0) + 1
    missing, start, best = len(letters), 0, ""
    for end, letter in enumerate(text):
        if letter in need:
            missing -= need[letter] > 0
            need[letter] -= 1
        while missing == 0 and need and start <= end:
            if not best or end - start + 1 < len(best):
                best = text[start : end + 1]
            if text[start] in need:
                need[text[start]] += 1
                missing += need[text[start]] > 0
            start += 1
    return best
