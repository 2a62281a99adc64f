"""Softmax and kin, without overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.array_exp import array_exp
from torch.array_softmax import array_softmax
from torch.autograd.record import record, write
from torch.reductions import axes_of, kept_shape
from torch.tensor import check_dim, function, make, method, packed

if TYPE_CHECKING:
    from torch.tensor import Tensor
    from torch.types import Dims, DType


@method
@function
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """Logarithm of the sum of the exponentials, without overflow."""
    x, dtype = (
        (input._array, input.dtype)
        if input.dtype.kind > 1
        else (input._array.astype(np.float32), dtypes.float32)
    )
    axes = axes_of(dim, x.ndim)
    top = x.max(axis=axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, np.zeros((), x.dtype))
    found = np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top
    kept = kept_shape(x.shape, axes)
    if not keepdim:
        found = found.reshape(tuple(s for i, s in enumerate(x.shape) if i not in axes))

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        return g.reshape(kept) * (input - y.reshape(kept)).exp()

    return record("LogsumexpBackward0", found, dtype, (input,), (vjp,), (input,), keeps_output=True)


def _as_float(input: Tensor, dtype: DType | None) -> Tensor:
    if dtype is not None:
        return input.to(dtype)
    if input.dtype.kind < 2:
        raise NotImplementedError(
            f"\"softmax_lastdim_kernel_impl\" not implemented for '{input.dtype.title}'"
        )
    return input


@method
@function
def softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """Exponentials divided by their sum along an axis."""
    input = _as_float(input, dtype)
    x = packed(input._array)
    dim = check_dim(dim, x.ndim)
    if x.ndim == 0:
        return softmax(input.reshape(1), 0).reshape(())
    if not x.size:
        e = x.copy()
    elif dim == x.ndim - 1:
        e = array_softmax(x.copy())
    else:
        e = array_exp(x - x.max(axis=dim, keepdims=True))
        e /= e.sum(axis=dim, keepdims=True)
    return record(
        "SoftmaxBackward0",
        e,
        input.dtype,
        (input,),
        (lambda g, y: _softmax_vjp(g, y, dim),),
        keeps_output=True,
    )


def _softmax_vjp(g: Tensor, y: Tensor, dim: int) -> Tensor:
    if g.requires_grad or y.requires_grad:
        weighted = g * y
        return weighted - y * weighted.sum(dim, keepdim=True)
    found = g._array * y._array
    found -= y._array * found.sum(axis=dim, keepdims=True)
    return make(found, g.dtype)


@method
@function
def log_softmax(input: Tensor, dim: int, dtype: DType | None = None, *, out: Tensor | None = None) -> Tensor:
    """Logarithm of the softmax, without overflow."""
    if out is not None:
        return write(out, log_softmax(input, dim, dtype))
    input = _as_float(input, dtype)
    x = packed(input._array)
    dim = check_dim(dim, x.ndim)
    if x.ndim == 0:
        return log_softmax(input.reshape(1), 0).reshape(())
    if x.size:
        x = x - x.max(axis=dim, keepdims=True)
        x -= np.log(array_exp(x).sum(axis=dim, keepdims=True))
    return record(
        "LogSoftmaxBackward0",
        x,
        input.dtype,
        (input,),
        (lambda g, y: g - y.exp() * g.sum(dim, keepdim=True),),
        keeps_output=True,
    )
