"""An exercise of activation patching."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise

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
    """Patch with the input of the clean run at every depth."""
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
