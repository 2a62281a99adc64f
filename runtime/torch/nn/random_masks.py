"""Dropout's random masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.types import Array, DType


def dropout_mask(shape: tuple[int, ...], dtype: DType, p: float) -> Array | None:
    """Array of 0 with probability `p`, else 1 / (1 - p); None for ``p == 0``, which draws nothing."""
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")
    if p == 0:
        return None
    if p == 1:
        return torch.zeros(shape, dtype=dtype)._array
    return (torch.empty(shape, dtype=dtype).bernoulli_(1 - p) / (1 - p))._array
