"""Edge cases: small functions with the edge cases that are easy to miss in their doctests.

Check every input: empty, one item, two; all equal, already sorted, reversed; zero, negative, huge; and what
is specified for an answer that does not exist, and for ties.
"""

from collections.abc import Sequence
from math import isfinite


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


def mean(numbers: Sequence[float]) -> float:
    """Return the mean; an empty list has none, and an overflowing sum is scaled first.

    >>> mean([1, 2]), mean([1e308, 1e308])
    (1.5, 1e+308)

    Raises:
        ValueError: There are no numbers.
    """
    if not numbers:
        raise ValueError("the mean of no numbers is undefined; pass at least one")
    total = sum(numbers)
    return total / len(numbers) if isfinite(total) else sum(x / len(numbers) for x in numbers)


def chunks(items: Sequence[int], size: int) -> list[list[int]]:
    """Split a list into chunks of a size; the last may be shorter and is never empty.

    >>> chunks([1, 2, 3], 2), chunks([1, 2], 2), chunks([], 2)
    ([[1, 2], [3]], [[1, 2]], [])

    Raises:
        ValueError: The size is not positive.
    """
    if size < 1:
        raise ValueError(f"size = {size} must be 1 or more")
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def divide(a: int, b: int) -> int:
    """Divide and round towards zero, as C and Java do; Python's ``//`` rounds down.

    >>> divide(-7, 2), -7 // 2, divide(7, -2), divide(10**17 + 1, 1)  # int(a / b) loses the last 1
    (-3, -4, -3, 100000000000000001)

    Raises:
        ValueError: The divisor is 0.
    """
    if b == 0:
        raise ValueError(f"{a} cannot be divided by 0")
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient
