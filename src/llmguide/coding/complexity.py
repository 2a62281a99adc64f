r"""Measures empirical time complexity: counts the steps of a function on growing inputs and fits classes.

Steps are lines of Python that run, counted by the interpreter's trace hook. That is the same on every run,
unlike time. It does not count work inside functions written in C, such as ``sorted``, slices and ``in`` on
lists; wrap numbers in `Counted` to count comparisons as well.

Each class is fitted as its growth plus a lower term, for example

$$a\,n \log n + b\,n, \qquad a > 0,$$

by least squares of relative errors, since the large inputs would drown the small ones otherwise. The
smallest class whose BIC is within 6 of the best is chosen (strong evidence by Kass & Raftery 1995,
doi:10.1080/01621459.1995.10476572). The confidence is the fraction of bootstrap samples of the points
that choose the same class. If it is low, or nothing fits, the result is "undecided".

A measurement proves nothing. Inputs that are too small, inputs that are not the worst case, and classes that
are not on the list (n!, sqrt(n), n^2 log n) give wrong or undecided results; exponentials of another base,
such as 1.618^n, may be reported as O(2^n).
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import total_ordering
from types import FrameType
from typing import Any

import numpy as np

from llmguide.coding._fast_fits import Array, fast_errors

CLASSES: dict[str, Callable[[float], float]] = {
    "O(1)": lambda n: 1.0,
    "O(log n)": math.log2,
    "O(n)": lambda n: n,
    "O(n log n)": lambda n: n * math.log2(n),
    "O(n^2)": lambda n: n**2,
    "O(n^3)": lambda n: n**3,
    "O(2^n)": lambda n: 2.0**n,
}
UNDECIDED = "undecided"
SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
SMALL_SIZES = (4, 5, 6, 7, 8, 9, 10, 11, 12)  # for exponential growth
STRONG = 6.0  # difference of BIC
FLOOR = 2e-3  # relative errors below this count as zero, because counts are integers
SHOWS = 0.01  # fraction of its largest value that a class must reach at three sizes, or it would fit outliers
WORST = 0.1  # root mean square relative error above which a fit is rejected
SURE = 0.8  # required confidence
RESAMPLES = 200


@dataclass(frozen=True)
class Growth:
    """Measured time complexity.

    Attributes:
        name: A key of `CLASSES`, or ``"undecided"``.
        confidence: Fraction of bootstrap samples that choose this class, 0 to 1.
        runner_up: The class chosen second most often, or next by BIC if none was.
        error: Root mean square relative error of the fit.
        sizes: Sizes of the inputs.
        steps: Steps counted at each size.
    """

    name: str
    confidence: float
    runner_up: str
    error: float
    sizes: tuple[int, ...]
    steps: tuple[float, ...]


def count_steps(function: Callable[..., object], *args: object) -> int:
    """Count the lines of Python that a call executes, including those of functions that it calls.

    >>> def total(numbers):
    ...     result = 0
    ...     for number in numbers:
    ...         result += number
    ...     return result
    >>> count_steps(total, [1, 2, 3])  # 1, then 4 times the loop's head and 3 times its body, and the return
    9
    """
    steps = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        nonlocal steps
        if event == "line":
            steps += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*args)
    finally:
        sys.settrace(before)
    return steps


@total_ordering
class Counted:
    """A number whose comparisons are lines of Python, which `count_steps` counts even in C code.

    >>> count_steps(sorted, [Counted(x) for x in (3, 2, 1)]) > 0, count_steps(sorted, [3, 2, 1])
    (True, 0)
    """

    def __init__(self, value: int) -> None:
        self.value = value

    def __lt__(self, other: "Counted") -> bool:
        return self.value < other.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counted) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


def measure(
    function: Callable[..., object],
    make_input: Callable[[int], tuple[object, ...]],
    sizes: Sequence[int] = SIZES,
) -> Growth:
    """Run a function on inputs of growing size and fit its time complexity.

    Args:
        function: Function to measure.
        make_input: Deterministic function from n to arguments of that size.
        sizes: At least 6 input sizes, over a factor of 3 or more; `SMALL_SIZES` if the growth may be
            exponential.

    Returns:
        The measured time complexity.

    Raises:
        ValueError: There are too few sizes.

    >>> def pairs(numbers):
    ...     return [(a, b) for a in numbers for b in numbers]
    >>> measure(pairs, lambda n: (range(n),), (4, 8, 16, 32, 64, 128)).name
    'O(n^2)'
    """
    return fit(sizes, [count_steps(function, *make_input(n)) for n in sizes])


def fit(sizes: Sequence[int], steps: Sequence[float], *, seed: int = 0) -> Growth:
    """Find the complexity class of given numbers of steps.

    Args:
        sizes: At least 6 different input sizes of 2 or more.
        steps: Number of steps at each size, positive.
        seed: Seed of the bootstrap.

    Returns:
        The measured time complexity.

    Raises:
        ValueError: There are too few sizes, they are too close, or a count is not positive.

    >>> fit([2, 4, 8, 16, 32, 64], [5 * n + 3 for n in (2, 4, 8, 16, 32, 64)]).name
    'O(n)'
    """
    n, y = np.asarray(sizes, dtype=float), np.asarray(steps, dtype=float)
    if len(n) != len(y) or len(set(sizes)) < 6 or min(sizes) < 2 or max(sizes) < 3 * min(sizes):
        raise ValueError(
            f"{len(y)} counts for sizes {list(sizes)}: give 6 or more, from 2, over a factor of 3"
        )
    if not (y > 0).all():
        raise ValueError(f"steps must be positive, not {min(steps)}")
    random = np.random.default_rng(seed)
    samples = random.choice(len(n), (RESAMPLES, len(n)))
    # at least four different points, because two coefficients overfit fewer
    samples = samples[[len(set(rows)) >= 4 for rows in samples.tolist()]]
    times_drawn = (samples[:, :, None] == np.arange(len(n))).sum(axis=1)
    errors, bic = _fit_all(n, y, np.concatenate([np.ones((1, len(n))), times_drawn]))
    names = list(CLASSES)
    choices = [names[i] for i in _choose(bic)]
    chosen, votes = choices[0], choices[1:]
    confidence = votes.count(chosen) / len(votes)
    others = [names[i] for i in np.argsort(bic[:, 0]) if names[i] != chosen]
    runner_up = max(others, key=votes.count)  # the first one of a tie
    error = float(errors[names.index(chosen), 0])
    decided = confidence >= SURE and error <= WORST
    name = chosen if decided else UNDECIDED
    return Growth(name, confidence, runner_up, error, tuple(sizes), tuple(steps))


def fit_class(growth: Array, lower: Sequence[Array], y: Array) -> float:
    """Fit one class of growth to counted steps, and compute the relative error of the best fit.

    The fit is ``a growth + b term`` for each lower term in turn, and ``a growth`` alone, by least squares of
    the relative errors; only fits with a > 0 count.

    Args:
        growth: Growth of the class at each size.
        lower: Growth of each slower class at each size.
        y: Steps at each size, positive.

    Returns:
        Root mean square relative error; infinite if no fit has a > 0.

    >>> n = np.array([2.0, 4, 8, 16, 32, 64])
    >>> fit_class(n, [np.ones(6)], 5 * n + 3) < 1e-6 < fit_class(n**2, [n, np.ones(6)], 5 * n + 3)
    True
    """
    errors = [math.inf]
    for terms in ([growth], *([growth, term] for term in lower)):
        relative = np.stack(terms, axis=1) / y[:, None]
        coefficients = np.linalg.lstsq(relative, np.ones(len(y)), rcond=None)[0]
        if coefficients[0] > 0:
            errors.append(float(np.sqrt(np.mean((relative @ coefficients - 1) ** 2))))
    return min(errors)


def _fit_all(n: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Fit every class to weighted points; return the errors and BIC of each (class, row of weights)."""
    growths = [_column(name, n) for name in CLASSES]
    errors = fast_errors(growths, y, weights)
    errors[[np.sum(growth >= SHOWS * growth.max()) < 3 for growth in growths]] = np.inf
    n_points = weights.sum(axis=1)
    n_coefficients = np.array([1] + [2] * (len(growths) - 1))[:, None]
    bic = 2 * n_points * np.log(np.hypot(errors, FLOOR)) + n_coefficients * np.log(n_points)
    return errors, bic


def _column(name: str, n: Array) -> Array:
    if name == "O(2^n)":
        n = n - n.max()  # 2^2048 overflows a float; the coefficient absorbs the scale
    return np.array([CLASSES[name](size) for size in n], dtype=np.float64)


def _choose(bic: Array) -> list[int]:
    """Choose, for each column, the first class that is not clearly worse than the best."""
    return [int(np.argmax(column <= column.min() + STRONG)) for column in bic.T]
