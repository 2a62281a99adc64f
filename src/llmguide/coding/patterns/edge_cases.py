"""Edge cases that are easy to miss, in the doctest of a small function.

Check every input: empty, one item, two; all equal, already sorted, reversed; zero, negative, huge; and what
is specified for an answer that does not exist, and for ties.
"""

from collections.abc import Sequence


def second_largest(numbers: Sequence[int]) -> int | None:
    """Return the largest number below the maximum, None if there is none. O(n) steps.

    Common mistakes: starting from 0 fails for negative numbers, and ``sorted(numbers)[-2]`` for repeated
    maxima.

    >>> second_largest([-3, -1, -2]), second_largest([5, 5]), second_largest([])
    (-2, None, None)
    """
    first: int | None = None
    second: int | None = None
    for number in numbers:
        if first is None or number > first:
            first, second = number, first
        elif number < first and (second is None or number > second):
            second = number
    return second
