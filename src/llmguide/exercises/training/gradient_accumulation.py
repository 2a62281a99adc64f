"""The exercise of gradient accumulation: micro-batches."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.tensor_work import TensorWork
from llmguide.exercises.training.gradients import IGNORED, loss_gradient

Batches = list[tuple[Tensor, Tensor]]


def accumulated_gradient(
    weight: Tensor,
    batches: Batches,
    *,
    size: Callable[[Tensor], float] = lambda targets: float((targets != IGNORED).sum()),
    total: Callable[[list[float]], float] = sum,
) -> Tensor:
    """Compute the gradient of the loss over several micro-batches, with switches for the mistakes."""
    gradient, sizes = torch.zeros_like(weight), []
    for x, targets in batches:
        sizes.append(size(targets))
        gradient = gradient + sizes[-1] * loss_gradient(x @ weight.T, targets).T @ x
    return gradient / total(sizes)


def _one_batch(weight: Tensor, batches: Batches) -> Tensor:
    x, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return loss_gradient(x @ weight.T, targets).T @ x


def _with_batches(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe the gradient, and whether a matrix product needs more than one micro-batch."""
    weight, batches = arguments
    with TensorWork() as work:
        result = function(*arguments)
    limit = max(weight.numel(), *(len(x) * len(weight) for x, _ in batches))
    return result, "several batches at once" if work.largest_product > limit else "one batch at a time"


def _micro_batch_probes() -> list[Arguments]:
    targets = [3, IGNORED, 0], [IGNORED] * 2, [5, 2, 1, IGNORED, 4], [2]
    return [
        (
            noise(seed, 6, 3),
            [(noise(seed + i, len(row), 3), torch.tensor(row)) for i, row in enumerate(rows, start=1)],
        )
        for seed, rows in ((30, targets), (40, targets[1:3]))
    ]


EXERCISES = (
    Exercise(
        "micro-batches",
        "accumulated_gradient(weight, batches) returns the gradient (V, D) of the loss of a whole batch that "
        "does not fit into memory. `batches` is a list of micro-batches (x, targets), with x (N, D) and "
        "targets (N,); N differs. The logits of a micro-batch are x @ weight.T. The loss is the mean "
        "cross-entropy over all targets of all micro-batches except -100; there is at least one, but a "
        "micro-batch can have none. Process one micro-batch at a time; the test checks the size of the "
        "matrix products.",
        accumulated_gradient,
        _micro_batch_probes,
        (
            Mistake(
                "mean of means",
                "the gradients of the micro-batches are averaged",
                "A target in a small micro-batch would count more than one in a large one.",
                partial(accumulated_gradient, size=lambda targets: 1.0),
            ),
            Mistake(
                "means summed",
                "the gradients of the means are summed",
                "The gradient would grow with the number of micro-batches.",
                partial(accumulated_gradient, size=lambda targets: 1.0, total=lambda sizes: 1.0),
            ),
            Mistake(
                "weighted by rows",
                "each micro-batch is weighted by its number of rows",
                "Rows with the target -100 do not count.",
                partial(accumulated_gradient, size=lambda targets: float(len(targets))),
            ),
            Mistake(
                "sum of the losses",
                "the gradient is not divided by the number of all targets",
                "The number is known after the last micro-batch: divide then.",
                partial(accumulated_gradient, total=lambda sizes: 1.0),
            ),
            Mistake(
                "last micro-batch only",
                "each micro-batch replaces the gradient of the one before",
                "Add to the gradient.",
                lambda weight, batches: accumulated_gradient(weight, batches[-1:]),
            ),
            Mistake(
                "one large batch",
                "the micro-batches are concatenated",
                "The gradient is right, but all logits are in memory at the same time.",
                _one_batch,
            ),
            Mistake(
                "divided by all rows",
                "the sum over all targets is divided by the number of all rows",
                "Rows with the target -100 do not count in the divisor either.",
                lambda weight, batches: (
                    accumulated_gradient(weight, batches, total=lambda sizes: 1.0)
                    / sum(len(targets) for _, targets in batches)
                ),
            ),
        ),
        (
            "loss_gradient gives the gradient of the mean over one micro-batch, with respect to its logits.",
            "For y = x @ w.T, the gradient of w is that of y, transposed, times x.",
            "A mean times its count is a sum. Add the sums, and divide once by the sum of the counts.",
        ),
        needs=("loss-gradient",),
        level="medium",
        minutes=20,
        after="With the mean of the means, the loss would depend on how a batch is cut. Devices that "
        "train on parts of a batch need the same weighting.",
        observe=_with_batches,
    ),
)
