"""Exercises of the chapter on algorithmic reasoning: a sliding window, and prefix sums."""

from collections.abc import Callable, Sequence
from functools import partial

from llmguide.coding.patterns.sliding_window import longest_without_repeat
from llmguide.exercises.definition import Exercise, Mistake


def _window(text: str, *, jump: Callable[[int, int, int], int], length: int = 1) -> int:
    """Compute the window with a rule for the start from the old start, the repeat and the end."""
    last: dict[str, int] = {}
    start = best = 0
    for end, letter in enumerate(text):
        if letter in last:
            start = jump(start, last[letter], end)
        last[letter] = end
        best = max(best, end - start + length)
    return best


def count_subarrays(numbers: Sequence[int], k: int) -> int:
    """Count the contiguous subarrays whose sum is k.

    >>> count_subarrays([3, -1, 1], 3)  # [3] and [3, -1, 1]
    2
    """
    seen = {0: 1}  # prefix sums so far; the empty prefix has the sum 0
    total = found = 0
    for number in numbers:
        total += number
        found += seen.get(total - k, 0)
        seen[total] = seen.get(total, 0) + 1
    return found


def _count_by_prefix_sums(
    numbers: Sequence[int], k: int, *, empty: int = 1, often: bool = True, enter_first: bool = False
) -> int:
    seen = {0: empty}
    total = found = 0
    for number in numbers:
        total += number
        if enter_first:
            seen[total] = seen.get(total, 0) + 1
        found += seen.get(total - k, 0)
        if not enter_first:
            seen[total] = seen.get(total, 0) + 1 if often else 1
    return found


def _window_of_sum(numbers: Sequence[int], k: int) -> int:
    start = total = found = 0
    for end, number in enumerate(numbers):
        total += number
        while total > k and start <= end:
            total -= numbers[start]
            start += 1
        found += total == k and start <= end
    return found


EXERCISES = (
    Exercise(
        "longest-without-repeat",
        "longest_without_repeat(text): length of the longest substring in which no character repeats.",
        longest_without_repeat,
        lambda: [("abcabcbb",), ("abba",), ("tmmzuxt",), ("dvdf",), ("aabbcc",), ("",)],
        (
            Mistake(
                "start jumps back",
                "the start moves to the character's last position even when that is before the window",
                "In abba the second a finds the first, which is no longer in the window. Take the larger "
                "of the two starts.",
                partial(_window, jump=lambda start, place, end: place + 1),
            ),
            Mistake(
                "window starts again",
                "a repeat throws the whole window away",
                "In dvdf the second d leaves vd in the window. Start after the first d.",
                partial(_window, jump=lambda start, place, end: end if place >= start else start),
            ),
            Mistake(
                "length off by one",
                "the character at the end is not counted",
                "From start to end, both included, there are end - start + 1 characters.",
                partial(_window, jump=lambda start, place, end: max(start, place + 1), length=0),
            ),
            Mistake(
                "characters of the whole text",
                "the different characters of the text are counted",
                "A substring is contiguous: it has no gaps.",
                lambda text: len(set(text)),
            ),
        ),
        (
            "Move a window over the text, and keep it free of repeats.",
            "Remember where each character was seen last.",
            "The start moves forward only: to the place after the last one of the new character, if that is "
            "later than the present start.",
        ),
        level="medium",
        minutes=15,
    ),
    Exercise(
        "count-subarrays",
        "count_subarrays(numbers, k): the number of nonempty contiguous subarrays whose sum is k. "
        "Numbers may be negative.",
        count_subarrays,
        lambda: [([3, -1, 1], 3), ([5, -1], 4), ([0, 0, 0], 0), ([1, 1, 1], 2), ([2], 2), ([], 0)],
        (
            Mistake(
                "sliding window",
                "the window is shrunk when its sum is too large, although a negative number may follow",
                "Shrinking is safe only if every number is positive. Use differences of prefix sums.",
                _window_of_sum,
            ),
            Mistake(
                "empty prefix forgotten",
                "subarrays that begin at the first number are missed",
                "Before anything is read, the sum 0 has been seen once.",
                partial(_count_by_prefix_sums, empty=0),
            ),
            Mistake(
                "entered before looked up",
                "the empty subarray counts when k is 0",
                "Look up first, then enter the prefix sum.",
                partial(_count_by_prefix_sums, enter_first=True),
            ),
            Mistake(
                "each prefix sum once",
                "a prefix sum that was seen several times counts once",
                "Each position where it was seen starts another subarray. Keep counts, not a set.",
                partial(_count_by_prefix_sums, often=False),
            ),
        ),
        (
            "The sum of a subarray is the difference of two prefix sums.",
            "At each position, how often has this prefix sum minus k been seen?",
            "Keep a dict from prefix sum to the number of times it was seen; the empty prefix has the sum 0.",
        ),
        level="medium",
        minutes=15,
    ),
)
