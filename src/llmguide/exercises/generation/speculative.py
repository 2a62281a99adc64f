"""An exercise of speculative decoding."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake


def _pick(probabilities: Tensor, uniform: float) -> int:
    """Return the token in whose segment of [0, 1) a number is."""
    return int((probabilities.cumsum(-1) <= uniform).sum().clamp(max=len(probabilities) - 1))


def _residual(p: Tensor, q: Tensor) -> Tensor:
    rest = (p - q).clamp(min=0)
    return rest / rest.sum()


def speculative(
    drafted: list[int],
    q: Tensor,
    p: Tensor,
    uniforms: list[float],
    *,
    accepted: Callable[[float, float, float], bool] = lambda p, q, uniform: uniform * q < p,
    replace: Callable[[Tensor, Tensor], Tensor] = _residual,
    pick: Callable[[Tensor, float], int] = _pick,
    go_on: bool = False,
    bonus: bool = True,
) -> list[int]:
    """Return what one step of speculative decoding adds to a text, with switches for the mistakes."""
    tokens: list[int] = []
    for i, token in enumerate(drafted):
        if accepted(float(p[i, token]), float(q[i, token]), uniforms[i]):
            tokens.append(token)
            continue
        tokens.append(pick(replace(p[i], q[i]), uniforms[-1]))
        if not go_on:
            return tokens
    return [*tokens, pick(p[-1], uniforms[-1])] if bonus else tokens


def _speculative_probes() -> list[Arguments]:
    q = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    p = torch.tensor([[0.3, 0.4, 0.2, 0.1], [0.2, 0.3, 0.4, 0.1], [0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
    return [
        ([0, 1, 0], q, p, [0.5, 0.45, 0.2, 0.85]),
        ([0, 1, 3], q, p, [0.7, 0.1, 0.1, 0.3]),
        ([1, 1, 2], q, p, [0.9, 0.8, 0.3, 0.4]),
        ([1, 2, 3], q, p, [0.2, 0.9, 0.6, 0.55]),
        ([0, 0, 0], q, p, [0.65, 0.2, 0.5, 0.05]),
        ([1, 0, 0], q, p, [0.5, 0.3, 0.4, 0.25]),  # all accepted; the next is not the most likely one
    ]


EXERCISES = (
    Exercise(
        "speculative",
        "speculative(drafted, q, p, uniforms) returns the tokens that one step of speculative decoding adds "
        "to a text, as a list. `drafted` has k tokens, each sampled from its row of q (k, V), the "
        "probabilities of the draft model. p (k + 1, V) has those of the large model at the same positions "
        "and at one more. The first k of the k + 1 `uniforms` in [0, 1) decide whether each drafted token "
        "is accepted: it is if the number is below the probability of acceptance. The last one samples the "
        "token that follows the accepted ones: in the order of their ids, the tokens divide [0, 1) into "
        "segments as long as their probabilities, and the number lies in the segment of the token. The "
        "result must be distributed as if the large model had sampled each of its tokens.",
        speculative,
        _speculative_probes,
        (
            Mistake(
                "accepted without chance",
                "a drafted token is accepted exactly if the large model finds it at least as probable",
                "A token that is less probable under the large model is still accepted in a fraction of the "
                "cases.",
                partial(speculative, accepted=lambda p, q, uniform: p >= q),
            ),
            Mistake(
                "accepted with the probability of the large model",
                "a drafted token is accepted with the probability that the large model gives to it",
                "The draft model has already proposed it with probability q. Together, both probabilities "
                "must give p where p is below q.",
                partial(speculative, accepted=lambda p, q, uniform: uniform < p),
            ),
            Mistake(
                "ratio upside down",
                "the probability of the draft model is divided by that of the large model",
                "Tokens that the draft model proposes too often must be rejected more often.",
                partial(speculative, accepted=lambda p, q, uniform: uniform * p < q),
            ),
            Mistake(
                "replaced by a sample from p",
                "the rejected token is replaced by a sample from the large model's distribution",
                "Accepted tokens already have part of this probability. Sample from what is missing.",
                partial(speculative, replace=lambda p, q: p),
            ),
            Mistake(
                "residual not normalized",
                "the residual is used as if it summed to 1",
                "Divide it by its sum, or most random numbers lie after the last segment.",
                partial(speculative, replace=lambda p, q: (p - q).clamp(min=0)),
            ),
            Mistake(
                "goes on after a rejection",
                "drafted tokens after a rejected one are still considered",
                "They were drafted for another text. Stop at the first rejection.",
                partial(speculative, go_on=True),
            ),
            Mistake(
                "last token missing",
                "nothing is added if all drafted tokens are accepted",
                "The pass of the large model has also computed the distribution after the last drafted "
                "token.",
                partial(speculative, bonus=False),
            ),
            Mistake(
                "residual the wrong way round",
                "the replacement is sampled from what the draft model has more than the large one",
                "Those tokens were proposed too often. Sample what was proposed too rarely.",
                partial(speculative, replace=lambda p, q: _residual(q, p)),
            ),
            Mistake(
                "most likely token",
                "the last token is the most likely one of its distribution",
                "It must be sampled, with the last random number.",
                partial(speculative, pick=lambda probabilities, uniform: int(probabilities.argmax())),
            ),
        ),
        (
            "When is a drafted token proposed too often, and when too rarely?",
            "The draft model proposes a token with probability q. If it is accepted with probability "
            "min(1, p / q), how much of p is still missing?",
            "On a rejection, sample from max(0, p - q), divided by its sum, and stop. Without a rejection, "
            "sample from the last row of p.",
        ),
        level="hard",
        minutes=25,
        after="The draft model changes how many tokens a pass of the large model yields, never how they are "
        "distributed.",
    ),
)
