"""Losses that are made of tensor operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn._activations import logsigmoid
from torch.nn._reduction import check, reduced

if TYPE_CHECKING:
    from torch.tensor import Tensor


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Squared difference."""
    check(reduction, size_average, reduce)
    return reduced((input - target).square(), reduction, "MseLossBackward0")


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Cross entropy of a probability, given as a logit, and a target probability."""
    check(reduction)
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    loss = (1 - target) * input - positive * logsigmoid(input)
    loss = loss if weight is None else loss * weight
    return reduced(loss, reduction, "BinaryCrossEntropyWithLogitsBackward0")


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Divergence of the log-probabilities `input` from the probabilities `target`."""
    check("mean" if reduction == "batchmean" else reduction, size_average, reduce)
    # in xlogy, 0 log 0 counts as 0
    terms = target.exp() * (target - input) if log_target else torch.xlogy(target, target) - target * input
    if reduction == "batchmean":
        return terms.sum() / input.shape[0] if input.ndim else terms.sum()
    return reduced(terms, reduction)
