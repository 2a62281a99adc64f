"""Exercises of power laws: read one, fit one."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from llmguide.exercises.definition import Exercise, Mistake

# ---- scaling ---------------------------------------------------------------------------------------


def times_more(exponent: float, fraction: float) -> float:
    """Compute the factor on a quantity that lowers a loss of quantity ** -exponent by a fraction.

    >>> times_more(0.5, 0.5)  # half the loss: four times the quantity
    4.0
    """
    return float((1 - fraction) ** (-1 / exponent))


# ---- a fitted law ----------------------------------------------------------------------------------


def predict_loss(
    sizes: Sequence[float],
    losses: Sequence[float],
    floor: float,
    size: float,
    *,
    scale: Callable[[float], float] = math.log,
    below: float | None = None,
    add: bool = True,
    ends: bool = False,
    back: Callable[[float], float] = math.exp,
) -> float:
    """Fit a power law above a floor, and extrapolate it, with switches for the mistakes.

    >>> round(predict_loss([1, 4, 16], [3, 2, 1.5], 1.0, 64), 6)  # the part above 1 halves each time
    1.25
    """
    x = [scale(each) for each in sizes]
    y = [math.log(loss - (floor if below is None else below)) for loss in losses]
    if ends:
        x, y = [x[0], x[-1]], [y[0], y[-1]]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    products = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    slope = products / sum((a - mean_x) ** 2 for a in x)
    return (floor if add else 0.0) + back(mean_y + slope * (scale(size) - mean_x))


def _straight_line(sizes: Sequence[float], losses: Sequence[float], floor: float, size: float) -> float:
    return predict_loss(sizes, [math.exp(loss) for loss in losses], 0.0, size, scale=float, back=float)


EXERCISES = (
    Exercise(
        "times-more",
        "times_more(exponent, fraction): a loss falls as quantity ** -exponent. By what factor must the "
        "quantity grow to lower the loss by `fraction`, a number between 0 and 1?",
        times_more,
        lambda: [(0.05, 0.1), (0.076, 0.1), (0.5, 0.5)],
        (
            Mistake(
                "fraction that is left",
                "the loss falls to the fraction instead of by it",
                "A loss lowered by a tenth is 0.9 of what it was.",
                lambda exponent, fraction: fraction ** (-1 / exponent),
            ),
            Mistake(
                "factor below 1",
                "the sign of the exponent is missing",
                "A lower loss needs a larger quantity, so the factor is above 1.",
                lambda exponent, fraction: (1 - fraction) ** (1 / exponent),
            ),
            Mistake(
                "exponent not inverted",
                "the remaining fraction is raised to the exponent itself",
                "Solve factor ** -exponent = 1 - fraction for the factor.",
                lambda exponent, fraction: (1 - fraction) ** -exponent,
            ),
            Mistake(
                "straight line for a power",
                "the loss is assumed to fall linearly",
                "On logarithmic axes the law is a straight line; on ordinary axes it flattens.",
                lambda exponent, fraction: 1 + fraction / exponent,
            ),
        ),
        ("Write down the loss before and after, and divide.", "factor ** -exponent = 1 - fraction."),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "fit-law",
        "predict_loss(sizes, losses, floor, size) predicts the loss of a model from those of smaller ones. "
        "sizes and losses list the numbers of parameters of trained models and their losses. The part of the "
        "loss above `floor` is a power law in the size. Fit its exponent and its factor by least squares of "
        "the logarithms, with all models counting the same, and return the loss that the law predicts for "
        "`size`.",
        predict_loss,
        lambda: [
            ([1e6, 1e7, 1e8, 1e9], [4.31, 3.52, 2.98, 2.61], 1.7, 1e11),
            ([2e5, 5e5, 8e6], [5.1, 4.7, 3.4], 1.2, 3e7),
        ],
        (
            Mistake(
                "floor ignored",
                "the power law is fitted to the whole loss",
                "The whole loss does not approach zero. Subtract the floor before the logarithm.",
                lambda sizes, losses, floor, size: predict_loss(sizes, losses, 0.0, size),
            ),
            Mistake(
                "floor not added again",
                "the part of the loss above the floor is returned",
                "The prediction is a loss, so it contains the floor.",
                partial(predict_loss, add=False),
            ),
            Mistake(
                "straight line without logarithms",
                "the loss is fitted with a straight line in the size",
                "A power law is a straight line if both axes are logarithmic.",
                _straight_line,
            ),
            Mistake(
                "logarithm of the loss only",
                "the size has no logarithm, which fits an exponential",
                "Take the logarithms of the sizes, too.",
                partial(predict_loss, scale=float),
            ),
            Mistake(
                "first and last only",
                "the line goes through the first and the last model",
                "Fit all models: with noise in the losses, two of them give a bad exponent.",
                partial(predict_loss, ends=True),
            ),
            Mistake(
                "logarithms with two bases",
                "the logarithm has base e and the power base 10",
                "Use exp with log, or 10 ** with log10.",
                partial(predict_loss, back=lambda value: float(10**value)),
            ),
        ),
        (
            "If the part above the floor is a power of the size, what are its logarithms as a function of "
            "the logarithm of the size?",
            "A straight line. Its slope is the covariance of x and y divided by the variance of x, and it "
            "goes through the means.",
            "Evaluate the line at the logarithm of `size`, and undo the logarithm and the subtraction.",
        ),
        level="medium",
        minutes=15,
        after="The floor is usually unknown. Fitting it as a third constant makes the extrapolation much "
        "less certain, and the exponent depends on it.",
    ),
)
