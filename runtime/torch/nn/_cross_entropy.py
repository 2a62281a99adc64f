"""Cross-entropy and negative log-likelihood, each as one operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch.array_exp import array_exp
from torch.autograd.record import retitled
from torch.nn._reduction import check
from torch.nn.fused import fused
from torch.tensor import make

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.tensor import Tensor
    from torch.types import Array


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Minus the log-probability of the right class, or of each class times its target probability.

    Args:
        input: Logits ``(C,)``, ``(N, C)`` or ``(N, C, ...)``.
        target: Classes, in the shape of `input` without C; or probabilities, in the shape of `input`.
        weight: Of the classes.
        size_average: Not supported.
        ignore_index: Class that does not count.
        reduce: Not supported.
        reduction: "mean" (weighted), "sum" or "none".
        label_smoothing: Share of the target that is spread evenly over all classes.
    """
    check(reduction, size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    dim = 0 if input.ndim == 1 else 1
    if input.shape == target.shape:
        return _probabilities(input, target, weight, dim, reduction, label_smoothing)
    if label_smoothing == 0 and input.dtype.kind == 2 and input.dtype.rounded is None:
        return _of_classes(input, target, weight, ignore_index, reduction, is_logits=True)
    logprobs = input.log_softmax(dim)
    loss = _of_classes(logprobs, target, weight, ignore_index, reduction, is_logits=False)
    if label_smoothing == 0:
        return loss
    counted = target != ignore_index
    even = -(logprobs if weight is None else logprobs * _along(weight, dim, input.ndim)).sum(dim)
    even = even.masked_fill(~counted, 0.0)
    if reduction != "none":
        even = even.sum()
    if reduction == "mean":
        even = even / (counted.sum() if weight is None else (weight[target.clamp(min=0)] * counted).sum())
    return (1 - label_smoothing) * loss + (label_smoothing / input.shape[dim]) * even


def _probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, dim: int, reduction: str, label_smoothing: float
) -> Tensor:
    if not target.is_floating_point():
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {target.dtype.title}"
        )
    n_classes = input.shape[dim]
    if label_smoothing > 0:
        target = target * (1 - label_smoothing) + label_smoothing / n_classes
    terms = input.log_softmax(dim) * target
    if weight is not None:
        terms = terms * _along(weight, dim, input.ndim)
    if reduction == "none":
        return -terms.sum(dim)
    total = -terms.sum()
    if reduction == "mean":
        total = retitled(total / (input.numel() / n_classes), "DivBackward1")
    return total


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of the right class, given all log-probabilities ``(N, C, ...)``."""
    check(reduction, size_average, reduce)
    return _of_classes(input, target, weight, ignore_index, reduction, is_logits=False)


def _of_classes(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    *,
    is_logits: bool,
) -> Tensor:
    """The loss given logits, or log-probabilities, as one operation."""
    dim = 0 if input.ndim == 1 else 1
    _check(input, target, dim)
    x = input._array if input.ndim < 3 else np.moveaxis(input._array, 1, -1)
    shape, n_classes = x.shape, x.shape[-1]
    y = target._array.reshape(-1)
    x = x.reshape(y.size, n_classes)
    counts = y != ignore_index
    index = np.where(counts, y, 0)
    if ((index < 0) | (index >= n_classes)).any():
        raise IndexError(f"Target {index[(index < 0) | (index >= n_classes)][0]} is out of bounds.")
    places = np.arange(y.size), index
    factors = counts.astype(x.dtype)
    if weight is not None:
        factors = factors * weight._array[index]
    losses = -x[places]
    if is_logits:
        highest = np.maximum.reduce(x, axis=1, initial=-np.inf)
        powers = array_exp(x - highest[:, None])
        sums = np.add.reduce(powers, axis=1)
        losses = np.log(sums) + (losses + highest)
    # where nothing counts, not even an infinite loss does
    losses = np.where(counts, losses, 0) * factors
    total = np.add.reduce(factors) if reduction == "mean" else 1

    def composite(input: Tensor) -> Tensor:
        logprobs = input.log_softmax(dim) if is_logits else input
        chosen = -logprobs.gather(dim, target.where(target != ignore_index, 0).unsqueeze(dim)).squeeze(dim)
        of_each = make(factors, input.dtype).reshape(target.shape)
        terms = chosen.masked_fill(target == ignore_index, 0.0) * of_each
        return terms if reduction == "none" else terms.sum() / float(total)

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array]:
        change = factors * g.reshape(-1) / (total or 1)
        grad = powers * (change / sums)[:, None] if is_logits else np.zeros((y.size, n_classes), g.dtype)
        grad[places] -= change
        grad = grad.reshape(shape)
        return (grad if input.ndim < 3 else np.moveaxis(grad, -1, 1),)

    title = "NllLossBackward0" if input.ndim <= 2 else "NllLoss2DBackward0"
    if input.ndim == 3 and reduction == "none":
        title = "ViewBackward0"
    losses = losses.reshape(target.shape)
    out = losses if reduction == "none" else losses.sum(dtype=losses.dtype) / total  # 0/0 without targets
    return fused(title, out, [input], backward, composite)


def _check(input: Tensor, target: Tensor, dim: int) -> None:
    if input.ndim == 0:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if target.ndim + 1 != input.ndim or (dim == 1 and input.shape[0] != target.shape[0]):
        if input.ndim == 1 or target.ndim == 0:
            raise ValueError(
                f"Expected input {tuple(input.shape)} and target {tuple(target.shape)} to match but for C"
            )
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]})."
        )
    if input.shape[dim + 1 :] != target.shape[dim:]:
        wanted = [input.shape[0], *input.shape[2:]]
        raise RuntimeError(f"Expected target size {wanted}, got {list(target.shape)}")
    if target.dtype.name not in ("int64", "uint8"):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target.dtype.title}")


def _along(weight: Tensor, dim: int, ndim: int) -> Tensor:
    return weight.reshape(-1, *[1] * (ndim - dim - 1))
