"""Exercises of sampling: temperature, top-p."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.generation.sampling import temperature, top_p


def _nucleus(
    logits: Tensor,
    p: float,
    *,
    crossing: bool = True,
    ordered: bool = True,
    undo: bool = True,
    late: bool = False,
    first: bool = False,
    ties: bool = False,
) -> Tensor:
    """Keep the nucleus, with switches for the mistakes."""
    order = logits.argsort(descending=True) if ordered else torch.arange(len(logits))
    probabilities = logits.softmax(-1)[order]
    total = probabilities.cumsum(-1)
    before = total - probabilities
    kept = (before <= p if late else before < p) if crossing else total <= p
    if first:
        kept[0] = True
    if ties:
        kept = logits[order] >= logits[order][kept].min()
    result = logits[order].masked_fill(~kept, -torch.inf)
    return result[order.argsort()] if undo else result


def _nucleus_with_zeros(logits: Tensor, p: float) -> Tensor:
    kept = top_p(logits, p)
    return kept.masked_fill(kept == -torch.inf, 0.0)


def _with_any_tie(function: Callable[..., Any], arguments: Arguments) -> Any:
    """Observe the result, sorted if tokens tie: which of them are kept depends on the sort."""
    result, logits = function(*arguments), arguments[0]
    tied = len(set(logits.tolist())) < len(logits)
    return result.sort()[0] if tied and isinstance(result, Tensor) else result


def _sampling_probes() -> list[Arguments]:
    peaked = torch.tensor([0.1, 4.0, 0.3, 0.2])  # the first alone exceeds p
    flat = torch.tensor([0.15, 0.5, 0.05, 0.3]).log()
    halves = torch.tensor([0.25, 0.5, 0.25]).log()  # the second reaches 0.5 exactly, without rounding
    ties = torch.tensor([0.2, 0.4, 0.2, 0.2]).log()  # two of the three tied tokens reach 0.7
    return [(flat, 0.7), (flat, 0.9), (peaked, 0.8), (noise(0, 12), 0.6), (halves, 0.5), (ties, 0.7)]


EXERCISES = (
    Exercise(
        "temperature",
        "temperature(logits, t) returns the logits at temperature t > 0.",
        temperature,
        lambda: [(torch.tensor([2.0, 1.0, 0.0]), 0.5), (noise(1, 2, 5), 1.7), (noise(2, 4), 1.0)],
        (
            Mistake(
                "multiplied instead of divided",
                "the logits are multiplied by the temperature",
                "With t = 0.5 the difference between two logits must double.",
                lambda logits, t: logits * t,
            ),
            Mistake(
                "applied to probabilities",
                "the probabilities are divided by the temperature",
                "The temperature acts before the softmax.",
                lambda logits, t: logits.softmax(-1) / t,
            ),
            Mistake(
                "probabilities instead of logits",
                "a softmax is applied to the result",
                "Return logits, so that other filters can follow.",
                lambda logits, t: (logits / t).softmax(-1),
            ),
        ),
        (
            "Small temperatures make the largest logit win by more. What does that do to the differences?",
            "Divide.",
        ),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "top-p",
        "top_p(logits, p) for a vector of logits: keep the smallest set of most likely tokens whose "
        "probabilities reach p, and set the logits of the others to minus infinity.",
        top_p,
        _sampling_probes,
        (
            Mistake(
                "drops the token that crosses p",
                "the token whose probability takes the sum past p is dropped",
                "Ask for each token whether the sum *before* it is still below p.",
                partial(_nucleus, crossing=False),
            ),
            Mistake(
                "only the first token may cross p",
                "the token whose probability takes the sum past p is dropped, unless it is the first",
                "Ask for each token whether the sum *before* it is still below p.",
                partial(_nucleus, crossing=False, first=True),
            ),
            Mistake(
                "all ties kept",
                "tokens that tie with the last one of the set are all kept",
                "The smallest set has only as many of the tied tokens as it needs. Select positions in the "
                "sorted order, instead of comparing logits with a limit.",
                partial(_nucleus, ties=True),
            ),
            Mistake(
                "not sorted",
                "the probabilities are summed in the order of the vocabulary",
                "The nucleus holds the most likely tokens: sort first.",
                partial(_nucleus, ordered=False),
            ),
            Mistake(
                "order not restored",
                "the logits come back sorted",
                "Position i of the result belongs to token i. Scatter back what you have sorted.",
                partial(_nucleus, undo=False),
            ),
            Mistake(
                "zeros instead of minus infinity",
                "the logits of dropped tokens are set to 0",
                "A logit of 0 has the probability e^0 over the sum. Only minus infinity gives 0.",
                _nucleus_with_zeros,
            ),
            Mistake(
                "probabilities instead of logits",
                "the probabilities of the remaining tokens are returned",
                "Return logits. The softmax comes later.",
                lambda logits, p: top_p(logits, p).softmax(-1),
            ),
            Mistake(
                "goes on when p is reached",
                "one more token is kept where the sum reaches p exactly",
                "Stop as soon as the sum is p or more: the sum before a token must be below p.",
                partial(_nucleus, late=True),
            ),
        ),
        (
            "Sort, softmax, cumsum.",
            "Keep a token if the sum of those before it is below p.",
            "argsort gives the order; the argsort of the order undoes it. Or assign minus infinity at the "
            "indices of the dropped tokens.",
        ),
        level="medium",
        minutes=15,
        observe=_with_any_tie,
    ),
)
