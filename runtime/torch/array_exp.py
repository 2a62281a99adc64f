"""Exponentials of arrays: numpy's, or, of float32 in the tab, those of array_exp.ts.

numpy's build for the tab takes twice as long or more. Both are correctly rounded but for a few in 10,000.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import kernels

if TYPE_CHECKING:
    from torch.types import Array

kernel = kernels.find("exp")
WORTH = 2**10  # numbers from which on the kernel is faster, with what a call of it costs


def array_exp(x: Array, out: Array | None = None) -> Array:
    """Exponential of each number, into a new array or into ``out``."""
    if kernel is None or x.dtype != np.float32 or x.size < WORTH or not x.flags.c_contiguous:
        return np.exp(x, out=out)
    out = np.empty_like(x) if out is None else out
    kernel(x.__array_interface__["data"][0], x.size, out.__array_interface__["data"][0])
    return out
