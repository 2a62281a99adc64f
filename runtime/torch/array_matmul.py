"""Products of arrays: numpy's, or, of float32 in the tab, those of array_matmul.ts, which have the same bits.

numpy's build for the tab has no BLAS and makes 1 to 2 GFLOP/s; array_matmul.ts makes 10 to 30.
"""

from math import prod

import numpy as np

try:
    from torch_kernels import matmul as kernel  # from kernels.mjs
except ImportError:
    kernel = None

WORTH = 2**16  # multiplications from which on the kernel is faster, with what a call of it costs


def array_matmul(x, y):
    """Product of the last two axes, over broadcast batches, as ``x @ y``."""
    if (
        kernel is None
        or not x.dtype == y.dtype == np.float32
        or min(x.ndim, y.ndim) < 2
        or x.shape[-2] < 2
        or x.shape[-1] != y.shape[-2]
    ):
        return np.matmul(x, y)
    (*batch, rows, depth), columns = x.shape, y.shape[-1]
    if x.shape[:-2] != y.shape[:-2]:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x = np.broadcast_to(x, (*batch, rows, depth))
        y = np.broadcast_to(y, (*batch, depth, columns))
    outer, inner = prod(batch[:-1]), prod(batch[-1:])
    if outer * inner * rows * depth * columns < WORTH:
        return np.matmul(x, y)
    x, y = x.reshape(outer, inner, rows, depth), y.reshape(outer, inner, depth, columns)
    out = np.empty((*batch, rows, columns), np.float32)
    scratch = np.empty(32 + 4 * depth + 8 * -(-columns // 8) * depth, np.float32)
    kernel(_at(x), *x.strides, _at(y), *y.strides, _at(out), outer, inner, rows, columns, depth, _at(scratch))
    return out


def _at(array):
    return array.__array_interface__["data"][0]
