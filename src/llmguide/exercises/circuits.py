"""Exercises of circuit analysis: attribution to components, patching, and induction heads."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise

# ---- attribution -------------------------------------------------------------------------------------------


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


# ---- induction ---------------------------------------------------------------------------------------------


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


# ---- patching ----------------------------------------------------------------------------------------------

Layer = Callable[[Tensor], Tensor]


def patch_grid(
    layers: Sequence[Layer],
    clean: Tensor,
    corrupted: Tensor,
    metric: Callable[[Tensor], float],
    *,
    normalized: bool = True,
    up_to: bool = False,
    final: bool = True,
    keep: bool = False,
) -> list[list[float]]:
    """Patch each site of the corrupted run, with switches for the mistakes."""
    sources = [clean]
    for layer in layers:
        sources.append(layer(sources[-1]))
    end = corrupted
    for layer in layers:
        end = layer(end)
    from_clean, from_corrupted = metric(sources[-1]), metric(end)
    grid, start = [], corrupted.clone()
    for depth in range(len(layers) + final):
        row = []
        for position in range(len(clean)):
            x = start.clone()
            place = slice(0 if up_to else position, position + 1)
            x[place] = sources[depth][place]
            if keep and depth == 0:
                start = x.clone()
            for layer in layers[depth:]:
                x = layer(x)
            restored = metric(x) - from_corrupted
            row.append(restored / (from_clean - from_corrupted) if normalized else restored)
        grid.append(row)
        if depth < len(layers):
            start = layers[depth](start)
    return grid


def _same_position(
    layers: Sequence[Layer], clean: Tensor, corrupted: Tensor, metric: Callable[[Tensor], float]
) -> list[list[float]]:
    """Take the inputs of the clean run for every depth."""
    found = []
    for depth in range(len(layers) + 1):
        row = []
        for position in range(len(clean)):
            x = corrupted
            for i, layer in enumerate([*layers, None]):
                if i == depth:
                    x = x.clone()
                    x[position] = clean[position]
                x = x if layer is None else layer(x)
            row.append(metric(x))
        found.append(row)
    first, last = metric_of(layers, clean, metric), metric_of(layers, corrupted, metric)
    return [[(value - last) / (first - last) for value in row] for row in found]


def metric_of(layers: Sequence[Layer], x: Tensor, metric: Callable[[Tensor], float]) -> float:
    """Compute the metric of a run through all layers."""
    for layer in layers:
        x = layer(x)
    return metric(x)


def mean_so_far(x: Tensor) -> Tensor:
    """Return a residual stream (T, D) after a layer that averages over earlier positions."""
    counts = torch.arange(1, len(x) + 1)[:, None]
    return x + torch.tanh(x.cumsum(dim=0) / counts)


def previous_position(x: Tensor) -> Tensor:
    """Return a residual stream (T, D) after a layer that copies from the position before."""
    return x + torch.cat([torch.zeros_like(x[:1]), x[:-1]]).flip(-1)


def last_difference(x: Tensor) -> float:
    """Return the difference of the first two numbers at the last position of a residual stream."""
    return float(x[-1, 0] - x[-1, 1])


def _patch_probes() -> list[Arguments]:
    clean = noise(73, 3, 4)
    corrupted = torch.cat([noise(74, 1, 4), clean[1:2], noise(75, 1, 4)])
    return [
        ([mean_so_far, previous_position], clean, corrupted, last_difference),
        ([previous_position], corrupted[:2], clean[:2], last_difference),
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
    Exercise(
        "patch-grid",
        "patch_grid(layers, clean, corrupted, metric) patches the residual stream of one run into another. "
        "`layers` is a list of L functions; each maps a residual stream (T, D) to the next one. `clean` and "
        "`corrupted` (T, D) are the streams before the first layer, and metric(stream) returns a number for "
        "a stream after the last layer. Return a list of L + 1 lists of T floats. Entry [l][t] is for a "
        "corrupted run in which, after the first l layers, position t (and nothing else) is replaced by what "
        "the clean run has there; the remaining layers then run on the patched stream. The entry is a linear "
        "function of the metric of the patched run: 0 for the metric of the corrupted run, 1 for that of the "
        "clean run. It can be below 0 or above 1. The layers do not change their argument; do not change "
        "yours either.",
        patch_grid,
        _patch_probes,
        (
            Mistake(
                "corrupted patched into clean",
                "the roles of the two runs are exchanged",
                "Run on the corrupted stream, and copy from the clean run.",
                lambda layers, clean, corrupted, metric: patch_grid(layers, corrupted, clean, metric),
            ),
            Mistake(
                "not normalized",
                "the entries are differences from the metric of the corrupted run",
                "Divide by the difference between the metrics of the clean and the corrupted run.",
                partial(patch_grid, normalized=False),
            ),
            Mistake(
                "all positions up to t",
                "all positions from 0 to t are replaced",
                "Replace a single position.",
                partial(patch_grid, up_to=True),
            ),
            Mistake(
                "earlier patches remain",
                "a patch before the first layer is still there at the next one",
                "Clone the stream before each patch. Writing into a tensor changes every name that refers "
                "to it.",
                partial(patch_grid, keep=True),
            ),
            Mistake(
                "last row missing",
                "the stream after the last layer is not patched",
                "There are L + 1 rows: before each layer, and after the last one.",
                partial(patch_grid, final=False),
            ),
            Mistake(
                "clean input at every depth",
                "the patch is always the clean stream before the first layer",
                "After l layers, take what the clean run has after l layers.",
                _same_position,
            ),
        ),
        (
            "First run both streams through all layers, and keep every intermediate stream.",
            "For [l][t]: clone the corrupted stream after l layers, overwrite one row of it, and run layers "
            "l, ..., L - 1.",
            "The entry is (patched - corrupted) / (clean - corrupted), in terms of metrics. For l = L, no "
            "layer runs after the patch.",
        ),
        level="medium",
        minutes=25,
        after="This takes (L + 1) T runs. Attribution patching approximates them with two forward passes and "
        "one backward pass.",
    ),
)
