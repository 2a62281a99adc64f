"""Products of arrays: numpy's, or, of float32 in the tab, those of array_matmul.ts, which have the same bits.

numpy's build for the tab has no BLAS and makes 1 to 2 GFLOP/s; array_matmul.ts makes 10 to 30.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from torch import kernels
from torch.kernels import FLOAT32

if TYPE_CHECKING:
    from torch.types import Array

kernel = kernels.find("matmul")
WORTH = 2**16  # multiplications from which on the kernel is faster, with what a call of it costs


def array_matmul(x: Array, y: Array, bias: Array | None = None) -> Array:
    """Product of the last two axes, over broadcast batches, as ``x @ y``; plus a bias for each column."""
    a, b = x.shape, y.shape
    if (
        kernel is None
        or not x.dtype is y.dtype is FLOAT32
        or len(a) < 2
        or len(b) < 2
        or a[-2] < 2
        or a[-1] != b[-2]
    ):
        return _by_numpy(x, y, bias)
    batch = a[:-2] if a[:-2] == b[:-2] else np.broadcast_shapes(a[:-2], b[:-2])
    shape = (*batch, a[-2], b[-1])
    if prod(shape) * a[-1] < WORTH:
        return _by_numpy(x, y, bias)
    if len(batch) > 2:  # more axes than the kernel takes
        x, y = np.broadcast_to(x, (*batch, *a[-2:])), np.broadcast_to(y, (*batch, *b[-2:]))
        return array_matmul(x.reshape(-1, *a[-2:]), y.reshape(-1, *b[-2:]), bias).reshape(shape)
    out = np.empty(shape, FLOAT32)
    scratch = _scratch(32 + 4 * a[-1] + 8 * -(-b[-1] // 8) * a[-1])
    kernel(id(x), id(y), 0 if bias is None else id(bias), id(out), id(scratch))
    return out


def _by_numpy(x: Array, y: Array, bias: Array | None) -> Array:
    out = np.matmul(x, y)
    if bias is not None:
        out += bias
    return out


_memory = [np.empty(0, FLOAT32)]  # used again and again, so that the cache holds it


def _scratch(size: int) -> Array:
    if _memory[0].size < size:
        _memory[0] = np.empty(size, FLOAT32)
    return _memory[0]
