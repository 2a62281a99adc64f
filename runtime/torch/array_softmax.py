"""Softmax of arrays along the last axis: by numpy, or, of float32 in the tab, by array_softmax.ts."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from torch import kernels
from torch.array_exp import array_exp
from torch.kernels import FLOAT32

if TYPE_CHECKING:
    from typing import Any

    from torch.types import Array

kernel = kernels.find("softmax")


def array_softmax(x: Array, *, is_causal: bool = False, is_masked: bool = False) -> Array:
    """Replace the rows of an array without gaps by their softmax.

    Args:
        x: Scores, of float32 or float64.
        is_causal: Row i of the last two axes ends after column i, and gets zeros from there on.
        is_masked: Rows of minus infinity become zeros, not NaN.
    """
    if kernel and x.dtype is FLOAT32 and kernel(id(x), is_causal, is_masked):
        return x
    if is_causal:
        x += _causal(*x.shape[-2:], x.dtype)
    highest = np.maximum.reduce(x, axis=-1, keepdims=True, initial=-np.inf)
    is_blind = 0
    if is_masked:
        is_blind = highest == -np.inf
        highest[is_blind] = 0
    x -= highest
    array_exp(x, out=x)
    x /= np.add.reduce(x, axis=-1, keepdims=True) + is_blind
    return x


@lru_cache(maxsize=32)
def _causal(n_queries: int, n_keys: int, dtype: np.dtype[Any]) -> Array:
    return np.where(np.tri(n_queries, n_keys, dtype=bool), dtype.type(0), dtype.type(-np.inf))
