"""Parts of the assignments about evaluation: bits per byte, multiple choice and scaling laws."""

from collections.abc import Callable, Sequence
from functools import partial
from math import exp, log
from operator import mul, truediv

from llmguide.exercises.definition import Arguments, Exercise, Mistake


def _bits_per_byte(nats: float, text: str) -> float:
    return nats / log(2) / len(text.encode())


def _choose(
    logprobs: Sequence[float],
    n_bytes: Sequence[int],
    score: Callable[[float, int], float] = lambda logprob, n: logprob / n,
) -> int:
    scores = [score(*pair) for pair in zip(logprobs, n_bytes, strict=True)]
    return scores.index(max(scores))


def _choose_probes() -> list[Arguments]:
    """Return continuations among which each of the mistakes chooses differently."""
    return [
        ([-4.5, -7.0, -7.5], [29, 22, 17]),
        ([-6.5, -5.5, -11.0], [9, 25, 11]),
        ([-6.5, -5.5, -10.5, -10.0], [29, 21, 30, 13]),
        ([-8.0, -11.5, -9.0, -5.5], [10, 24, 14, 5]),
    ]


def _extrapolate(
    c1: float, loss1: float, c2: float, loss2: float, c: float, *, first: bool = False, sign: int = 1
) -> float:
    """Extrapolate a power law from its second run, or from its first, with a switch for a mistake."""
    slope = sign * log(loss2 / loss1) / log(c2 / c1)
    predicted: float = loss1 * (c / c1) ** slope if first else loss2 * (c / c2) ** slope
    return predicted


EVALUATION_PARTS = (
    Exercise(
        "bits-per-byte",
        "bits_per_byte(nats, text) returns the bits per UTF-8 byte of the string `text`. `nats` is the "
        "negative log-likelihood of the text in nats, summed over its tokens.",
        _bits_per_byte,
        lambda: [(12.5, "na\u00efve \u4e2d"), (3.0, "plain")],
        (
            Mistake(
                "nats for bits",
                "the result is in nats",
                "A bit is ln 2 nats.",
                lambda nats, text: nats / len(text.encode()),
            ),
            Mistake(
                "per character",
                "the sum is divided by the number of characters",
                "In UTF-8, a character has one to four bytes. The number of bytes is len(text.encode()).",
                lambda nats, text: nats / log(2) / len(text),
            ),
            Mistake(
                "multiplied by ln 2",
                "the nats are multiplied by ln 2",
                "One nat is 1.44 bits, so divide by ln 2.",
                lambda nats, text: nats * log(2) / len(text.encode()),
            ),
        ),
        ("nats / ln 2 / bytes",),
    ),
    Exercise(
        "choose-continuation",
        "choose(logprobs, n_bytes) returns the index, an int, of the continuation that a model chooses in a "
        "benchmark such as HellaSwag: the one with the highest log-probability per byte. `logprobs` has the "
        "total log-probability of each continuation, and `n_bytes` its length in bytes.",
        _choose,
        _choose_probes,
        (
            Mistake(
                "not normalized",
                "the total log-probabilities are compared",
                "A longer text usually has a lower total. Divide by its number of bytes.",
                partial(_choose, score=lambda logprob, _: logprob),
            ),
            Mistake(
                "least likely",
                "the continuation with the lowest log-probability per byte is chosen",
                "Log-probabilities are negative, so the highest is the one nearest to 0.",
                partial(_choose, score=lambda logprob, n: -logprob / n),
            ),
            Mistake(
                "multiplied by the length",
                "the log-probabilities are multiplied by the numbers of bytes",
                "The log-probability per byte is the total divided by the number of bytes.",
                partial(_choose, score=mul),
            ),
            Mistake(
                "probability per byte",
                "the probabilities, not their logarithms, are divided by the numbers of bytes",
                "Do not take exp of the total: exp(logprob) / n is not the log-probability per byte.",
                partial(_choose, score=lambda logprob, n: exp(logprob) / n),
            ),
            Mistake(
                "root of the length",
                "the log-probabilities are divided by the roots of the numbers of bytes",
                "Divide by the number of bytes itself.",
                partial(_choose, score=lambda logprob, n: logprob / n**0.5),
            ),
            Mistake(
                "shortest",
                "the shortest continuation is chosen",
                "The choice depends on the log-probability per byte, not on the length alone.",
                partial(_choose, score=lambda _, n: -n),
            ),
            Mistake(
                "longest",
                "the longest continuation is chosen",
                "The choice depends on the log-probability per byte, not on the length alone.",
                partial(_choose, score=lambda _, n: n),
            ),
            Mistake(
                "score for index",
                "the highest log-probability per byte is returned",
                "Return the index of the continuation that has it.",
                lambda logprobs, n_bytes: max(map(truediv, logprobs, n_bytes)),
            ),
        ),
        ("Take the index of the maximum of logprob / n.",),
    ),
    Exercise(
        "extrapolate-loss",
        "extrapolate(c1, loss1, c2, loss2, c) returns the loss that a power law predicts for a run with "
        "compute c, in FLOPs. The power law is loss = a * compute ** -b. It goes through two runs: one with "
        "compute c1 and loss loss1, the other with compute c2 and loss loss2.",
        _extrapolate,
        lambda: [(1e15, 4.0, 4e15, 3.5, 1.6e16), (1e18, 3.2, 1e19, 2.9, 1e22)],
        (
            Mistake(
                "straight line in the compute",
                "the loss is extrapolated linearly in the compute",
                "A power law is a straight line if you plot log(loss) against log(compute).",
                lambda c1, loss1, c2, loss2, c: loss2 + (loss2 - loss1) * (c - c2) / (c2 - c1),
            ),
            Mistake(
                "straight line in log compute",
                "the logarithm of the compute is taken, but not that of the loss",
                "Take the logarithm of the loss as well.",
                lambda c1, loss1, c2, loss2, c: loss2 + (loss2 - loss1) * log(c / c2) / log(c2 / c1),
            ),
            Mistake(
                "sign of the exponent",
                "the exponent has the wrong sign, so that the predicted loss rises with compute",
                "The slope log(loss2 / loss1) / log(c2 / c1) is negative.",
                partial(_extrapolate, sign=-1),
            ),
            Mistake(
                "sign of the exponent, first run",
                "the power law goes through the first run, but its exponent has the wrong sign",
                "The slope log(loss2 / loss1) / log(c2 / c1) is -b.",
                partial(_extrapolate, sign=-1, first=True),
            ),
            Mistake(
                "sign in the last step",
                "a and b are right, but the prediction is a * c ** b",
                "The loss falls with compute: the exponent is -b.",
                lambda c1, loss1, c2, loss2, c: loss2 * (c * c2) ** (-log(loss2 / loss1) / log(c2 / c1)),
            ),
            Mistake(
                "runs mixed",
                "the prediction starts from the loss of one run and the compute of the other",
                "Multiply loss2 by (c / c2) ** -b, or loss1 by (c / c1) ** -b.",
                lambda c1, loss1, c2, loss2, c: loss1 / loss2 * _extrapolate(c1, loss1, c2, loss2, c),
            ),
        ),
        ("The slope of the line between the two points in a log-log plot is -b.",),
    ),
)
