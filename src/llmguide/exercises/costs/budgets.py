"""Exercises of scale: budgets, epochs, utilization."""

from collections.abc import Callable
from functools import partial
from math import exp

from llmguide.costs.flops import mfu, training_flops
from llmguide.costs.scaling_laws import (
    BESIROGLU,
    HOFFMANN,
    ChinchillaConstants,
    chinchilla_optimal,
    parametric_optimal,
)
from llmguide.exercises.definition import Exercise, Mistake

# ---- budgets ---------------------------------------------------------------------------------------


HALF_LIFE = 15.39  # R* of Muennighoff et al. 2023, rounded as the page prints it


def _worth(unique: float, epochs: float) -> float:
    return unique + unique * HALF_LIFE * (1 - exp(-(epochs - 1) / HALF_LIFE))


def _mfu(n_params: float, n_tokens: float, hours: float, peak: float) -> float:
    return mfu(training_flops(n_params, n_tokens), hours, peak_flops=peak)


# ---- the best size ---------------------------------------------------------------------------------

Law = dict[str, float]


def _optimal(flops: float, law: Law) -> tuple[float, float]:
    return parametric_optimal(flops, ChinchillaConstants(**law))


def _split(
    flops: float,
    law: Law,
    *,
    ratio: Callable[[Law], float] = lambda law: law["alpha"] * law["A"] / (law["beta"] * law["B"]),
    exponent: str = "beta",
    per_token: float = 6.0,
) -> tuple[float, float]:
    """Compute the optimal size and number of tokens, with switches for the mistakes."""
    total = law["alpha"] + law["beta"]
    n_params = ratio(law) ** (1 / total) * (flops / per_token) ** (law[exponent] / total)
    return n_params, flops / (per_token * n_params)


EXERCISES = (
    Exercise(
        "chinchilla",
        "chinchilla(flops) returns a tuple of the number of parameters N and the number of tokens D that "
        "spend the budget 6 N D at 20 tokens per parameter.",
        chinchilla_optimal,
        lambda: [(1e21,), (5.76e23,)],
        (
            Mistake(
                "factor 6 forgotten",
                "the budget is N D instead of 6 N D",
                "Each parameter costs 2 FLOPs forward and 4 backward per token.",
                lambda flops: chinchilla_optimal(6 * flops),
            ),
            Mistake(
                "only the forward pass",
                "the budget is 2 N D, that of the forward pass",
                "The backward pass costs twice as much again.",
                lambda flops: chinchilla_optimal(3 * flops),
            ),
            Mistake(
                "tokens and parameters swapped",
                "there are 20 parameters for each token, or the two results are in the wrong order",
                "20 tokens per parameter: more tokens than parameters. Return N first, then D.",
                lambda flops: chinchilla_optimal(flops)[::-1],
            ),
            Mistake(
                "root forgotten",
                "120 N is the budget, instead of 120 N squared",
                "D = 20 N, so the budget 6 N D contains N twice. Take the root.",
                lambda flops: (flops / 120, flops / 6),
            ),
            Mistake(
                "as many tokens as parameters",
                "N and D are equal",
                "Insert D = 20 N into the budget 6 N D, and solve for N.",
                lambda flops: ((flops / 6) ** 0.5, (flops / 6) ** 0.5),
            ),
        ),
        ("With D = 20 N the budget is 120 N squared.",),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "worth",
        "worth(unique, epochs): how many new tokens it is worth to read `unique` tokens for `epochs` epochs, "
        "with R* = 15.39. Each epoch is worth a little less than the one before.",
        _worth,
        lambda: [(100.0, 4.0), (2e9, 1.0), (5e10, 40.0)],
        (
            Mistake(
                "first reading counted as a repetition",
                "R is the number of epochs",
                "The first reading repeats nothing: R = epochs - 1.",
                lambda unique, epochs: _worth(unique, epochs + 1),
            ),
            Mistake(
                "repetitions as good as new",
                "every epoch counts in full",
                "That is the upper bound, which no text reaches.",
                lambda unique, epochs: unique * epochs,
            ),
            Mistake(
                "first reading forgotten",
                "only the repetitions are counted",
                "The first reading counts in full: the sum begins with U.",
                lambda unique, epochs: _worth(unique, epochs) - unique,
            ),
            Mistake(
                "decay without its scale",
                "the saturating part is not multiplied by R*",
                "Early repetitions are worth nearly 1 each: the slope at R = 0 is R* / R*.",
                lambda unique, epochs: unique + unique * (1 - exp(-(epochs - 1) / HALF_LIFE)),
            ),
        ),
        ("D' = U + U R* (1 - exp(-R / R*)), with R the repetitions.",),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "mfu",
        "mfu(n_params, n_tokens, hours, peak): model FLOPs utilization of a training run, from the "
        "device-hours that it took and the peak of one device in FLOP/s.",
        _mfu,
        lambda: [(7e9, 2e12, 184_320.0, 312e12), (1e9, 20e9, 300.0, 989e12)],
        (
            Mistake(
                "hours taken for seconds",
                "hours are used as if they were seconds",
                "The peak is per second, and an hour has 3,600 seconds.",
                lambda n, d, hours, peak: 3600 * _mfu(n, d, hours, peak),
            ),
            Mistake(
                "only the forward pass",
                "a token costs 2 FLOPs per parameter",
                "The backward pass costs 4 more.",
                lambda n, d, hours, peak: _mfu(n, d, hours, peak) / 3,
            ),
            Mistake(
                "upside down",
                "what the devices could do is divided by what the model needs",
                "Utilization is a fraction below 1.",
                lambda n, d, hours, peak: 1 / _mfu(n, d, hours, peak),
            ),
            Mistake(
                "recomputation counted",
                "the forward pass that checkpointing repeats is counted: 8 FLOPs per parameter",
                "The model does not need it. Hardware FLOPs utilization (HFU) counts it.",
                lambda n, d, hours, peak: 8 / 6 * _mfu(n, d, hours, peak),
            ),
            Mistake(
                "in percent",
                "the utilization is in percent",
                "Utilization is a fraction, from 0 to 1.",
                lambda *arguments: 100 * _mfu(*arguments),
            ),
        ),
        ("The model needs 6 N D.", "The devices could have done hours times 3,600 times peak."),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "compute-optimal",
        "compute_optimal(flops, law) returns a tuple of the number of parameters N and the number of tokens "
        "D with the lowest loss among all that cost the given FLOPs, 6 per parameter and token. `law` is a "
        "dict with the constants of the loss E + A / N ** alpha + B / D ** beta under the keys E, A, B, "
        "alpha and beta. The result must be right to four digits; solve it on paper or search numerically.",
        _optimal,
        lambda: [(5.76e23, vars(HOFFMANN)), (1e20, vars(BESIROGLU)), (1e24, vars(BESIROGLU))],
        (
            Mistake(
                "20 tokens per parameter",
                "there are 20 tokens for each parameter",
                "That is a rule of thumb. This law has its own optimum, and its ratio changes with the "
                "budget.",
                lambda flops, law: chinchilla_optimal(flops),
            ),
            Mistake(
                "equal terms",
                "the terms of parameters and tokens are made equal",
                "At the optimum their slopes are equal, not their sizes: the terms times their exponents.",
                partial(_split, ratio=lambda law: law["A"] / law["B"]),
            ),
            Mistake(
                "exponents swapped",
                "the exponent of N contains alpha where beta belongs",
                "If data helps more with each doubling (a larger beta), fewer tokens are needed, and the "
                "parameters grow faster with the budget.",
                partial(_split, exponent="alpha"),
            ),
            Mistake(
                "ratio upside down",
                "the ratio of alpha A to beta B is inverted",
                "A larger A makes a small model worse, so N must grow with A.",
                partial(_split, ratio=lambda law: law["beta"] * law["B"] / (law["alpha"] * law["A"])),
            ),
            Mistake(
                "factor 6 forgotten",
                "a parameter and token costs one FLOP",
                "The forward pass costs 2, the backward pass 4.",
                partial(_split, per_token=1.0),
            ),
            Mistake(
                "only the forward pass",
                "a parameter and token costs 2 FLOPs",
                "The backward pass costs 4 more.",
                partial(_split, per_token=2.0),
            ),
            Mistake(
                "as many tokens as parameters",
                "N and D are equal",
                "The two terms have other constants, so the budget is not divided evenly.",
                lambda flops, law: ((flops / 6) ** 0.5, (flops / 6) ** 0.5),
            ),
        ),
        (
            "With a fixed budget, D follows from N. The loss is then a function of N alone.",
            "Set its derivative with respect to log N to zero. Each term contributes its size times its "
            "exponent.",
            "At the optimum, alpha A / N ** alpha equals beta B / D ** beta. Insert D = C / (6 N) and solve "
            "for N.",
        ),
        level="hard",
        minutes=25,
        after="Since alpha and beta are close, N and D grow with nearly the same power of the budget. Models "
        "for wide use are trained on many more tokens, because a smaller model is cheaper to run.",
    ),
)
