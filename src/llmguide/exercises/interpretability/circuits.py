"""Exercises of circuits: what a head adds to a logit, and which heads complete a repeated text."""

from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise


def attribute(
    components: Tensor,
    weight: Tensor,
    unembedding: Tensor,
    right: Tensor,
    wrong: Tensor,
    *,
    centered: bool = True,
    weighted: bool = True,
    scale: str = "whole",
    correction: int = 0,
) -> Tensor:
    """Compute the contributions of components to logit differences, with switches for the mistakes."""
    whole = components if scale == "each" else components.sum(dim=0)
    deviation = (whole.var(dim=-1, keepdim=True, correction=correction) + 1e-5).sqrt()
    if scale == "length":
        deviation = (whole.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    if centered:
        components = components - components.mean(dim=-1, keepdim=True)
    scaled = components if scale == "none" else components / deviation
    direction = unembedding[right] - unembedding[wrong]
    return (scaled * (weight if weighted else 1.0) * direction).sum(dim=-1)


def _attribution_probes() -> list[Arguments]:
    return [
        (
            noise(64, 4, 3, 6) + 0.5,
            1 + noise(65, 6),
            noise(66, 7, 6),
            torch.tensor([1, 0, 6]),
            torch.tensor([2, 5, 3]),
        ),
        (2 * noise(67, 2, 1, 5), 1 + noise(68, 5), noise(69, 4, 5), torch.tensor([3]), torch.tensor([0])),
    ]


def induction_scores(
    pattern: Tensor,
    ids: list[int],
    *,
    offset: int = 1,
    latest: bool = True,
    everywhere: bool = False,
    transposed: bool = False,
    total: bool = False,
) -> Tensor:
    """Score heads by their weight on the induction target, with switches for the mistakes."""
    pattern = pattern.mT if transposed else pattern
    weights = []
    for t, token in enumerate(ids):
        earlier = [s for s in range(t) if ids[s] == token]
        if earlier:
            weights.append(pattern[:, t, (earlier[-1] if latest else earlier[0]) + offset])
    if not weights:
        return pattern[:, 0, 0] * 0
    scores = torch.stack(weights).sum(dim=0)
    return scores if total else scores / (len(ids) if everywhere else len(weights))


def _induction_probes() -> list[Arguments]:
    def pattern(seed: int, size: int) -> Tensor:
        future = torch.ones(size, size, dtype=torch.bool).triu(1)
        return noise(seed, 3, size, size).masked_fill(future, -torch.inf).softmax(-1)

    return [
        (pattern(70, 7), [4, 9, 2, 4, 9, 4, 2]),
        (pattern(71, 5), [1, 1, 3, 1, 5]),
        (pattern(72, 3), [1, 2, 3]),
    ]


EXERCISES = (
    Exercise(
        "attribute",
        "attribute(components, weight, unembedding, right, wrong) splits differences of two logits into the "
        "contributions of components (direct logit attribution). `components` (C, T, D) are what the "
        "embedding, the heads and the feed-forward layers add to the residual stream at T positions. Their "
        "sum over C is the final residual stream. It goes through a LayerNorm with `weight` (D,), eps 1e-5 "
        "and no bias, and then through `unembedding`, with one row (D,) per token. At position t we ask for "
        "the logit of token right[t] minus the logit of token wrong[t]; both are tensors (T,) of ids. Return "
        "contributions (C, T) that are linear in the components once the scale of the norm is fixed, and add "
        "up over C to the exact difference.",
        attribute,
        _attribution_probes,
        (
            Mistake(
                "each component normalized",
                "each component is divided by its own standard deviation",
                "The norm sees the sum of all components, so there is one scale for each position.",
                partial(attribute, scale="each"),
            ),
            Mistake(
                "norm left out",
                "the components are not divided by the scale of the norm",
                "The contributions have to add up to the logits of the model, which come after the norm.",
                partial(attribute, scale="none"),
            ),
            Mistake(
                "mean not subtracted",
                "the components keep their means",
                "LayerNorm subtracts the mean of the stream. The mean of a sum is the sum of the means.",
                partial(attribute, centered=False),
            ),
            Mistake(
                "weight of the norm left out",
                "the weight of the norm is missing",
                "Multiply by it after the division by the scale.",
                partial(attribute, weighted=False),
            ),
            Mistake(
                "scale of an RMSNorm",
                "the scale is the root mean square of the stream, without subtracting its mean",
                "LayerNorm divides by the standard deviation.",
                partial(attribute, scale="length"),
            ),
            Mistake(
                "Bessel's correction",
                "the variance is divided by D - 1",
                "LayerNorm divides by D: var(dim=-1, correction=0).",
                partial(attribute, correction=1),
            ),
        ),
        (
            "Write down the logit difference for the whole stream first. Which parts of it are linear in the "
            "stream, and which one is not?",
            "The scale is the only part that is not linear. Compute it from the sum of the components, and "
            "use it for each of them.",
            "Center each component over D, divide by the scale (T, 1), multiply by `weight`, and take the "
            "dot product with unembedding[right] - unembedding[wrong].",
        ),
        level="medium",
        minutes=20,
        after="Logits have an arbitrary common offset, so a difference of two is easier to interpret than "
        "one of them. Attribution sees only what a component writes for the output head directly; effects "
        "through later layers need ablation or patching.",
    ),
    Exercise(
        "induction-scores",
        "induction_scores(pattern, ids) returns a score (H,) for each of H heads, for a text of T token ids "
        "(a list). `pattern` (H, T, T) are the attention weights: queries are rows, keys are columns. An "
        "induction head looks for the last time that the current token occurred before, and attends to the "
        "token that followed it then. The score is the weight on this key, averaged over the queries whose "
        "token has occurred before. If there is none, all scores are 0.",
        induction_scores,
        _induction_probes,
        (
            Mistake(
                "earlier occurrence itself",
                "the weight on the earlier occurrence of the token counts",
                "The head predicts what comes next, so it attends to the token after that occurrence.",
                partial(induction_scores, offset=0),
            ),
            Mistake(
                "first occurrence",
                "the first occurrence of a token counts, not the last one before the query",
                "If a token has occurred several times, take the latest of them.",
                partial(induction_scores, latest=False),
            ),
            Mistake(
                "averaged over all queries",
                "the sum is divided by the number of all tokens",
                "At new tokens an induction head has nothing to find. Divide by the number of queries that "
                "count.",
                partial(induction_scores, everywhere=True),
            ),
            Mistake(
                "rows and columns exchanged",
                "keys are taken for queries",
                "pattern[h, t, s] is the weight of query t on key s.",
                partial(induction_scores, transposed=True),
            ),
            Mistake(
                "sum instead of mean",
                "the weights are added up",
                "A score is between 0 and 1.",
                partial(induction_scores, total=True),
            ),
        ),
        (
            "Go through the text once, and note for each token where it was seen last.",
            "At query t with an earlier occurrence at s, the key is s + 1. It is never in the future: why?",
            "Collect pattern[:, t, s + 1] in a list, stack it, and average over the queries. Update the note "
            "about a token after you have used it.",
        ),
        level="medium",
        minutes=15,
        after="On repeated random tokens, this score finds induction heads, because only the repetition "
        "predicts anything there. It does not show that the head copies what it attends to.",
    ),
)
