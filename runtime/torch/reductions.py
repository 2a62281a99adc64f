"""Sums, means, products and truth over axes."""

from __future__ import annotations

import math
from operator import index as as_int
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record, retitled
from torch.joining import cat
from torch.tensor import check_dim, function, make, method, packed

if TYPE_CHECKING:
    from torch.tensor import Tensor
    from torch.types import Dims, DType, Shape


def axes_of(dim: Dims, ndim: int) -> Shape:
    """Axes from the left, and all of them for None."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, int):
        dim = check_dim(dim, ndim)
        return (dim,) if ndim else ()
    if len(dim) == 0:
        return tuple(range(ndim))
    axes = tuple(check_dim(as_int(d), ndim) for d in dim)
    if len(set(axes)) < len(axes):
        raise RuntimeError(f"dim {axes[0]} appears multiple times in the list of dims")
    return axes if ndim else ()


def kept_shape(shape: Shape, axes: Shape) -> Shape:
    """Shape with the axes kept, of one element each."""
    return tuple(1 if i in axes else size for i, size in enumerate(shape))


def count_of(shape: Shape, axes: Shape) -> int:
    """How many elements are summarized in one."""
    return math.prod(shape[i] for i in axes)


def check_items(input: Tensor, axes: Shape, name: str) -> None:
    """Raise an error if an axis that is to be summarized is empty."""
    if 0 in [input._array.shape[i] for i in axes]:
        if len(axes) == input._array.ndim:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
                "reduction dim with the 'dim' argument."
            )
        raise IndexError(f"{name}(): Expected reduction dim {axes[0]} to have non-zero size.")


@method
@function
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """Sum over axes, or over everything."""
    array = input._array
    if dtype is None:
        dtype = input.dtype if input.dtype.kind > 1 else dtypes.int64
    axes = axes_of(dim, array.ndim)
    found = packed(array.sum(axis=axes, keepdims=keepdim, dtype=dtype.storage))
    shape = array.shape
    if keepdim or len(axes) == len(shape):
        vjp = lambda g: g.expand(shape)  # noqa: E731  # the shorter way for the commoner case
    else:
        kept = kept_shape(shape, axes)
        vjp = lambda g: g.reshape(kept).expand(shape)  # noqa: E731
    title = "SumBackward0" if dim is None else "SumBackward1"
    return record(title, found, dtype, (input,), (vjp,))


@method
@function
def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """Mean over axes, or over everything."""
    array = input._array
    if dtype is None:
        dtype = input.dtype
    if dtype.kind < 2:
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex "
            f"dtype. Got: {dtype.title}"
        )
    axes = axes_of(dim, array.ndim)
    shape = array.shape
    n = count_of(shape, axes)
    found = packed(array.sum(axis=axes, keepdims=keepdim, dtype=dtype.storage))
    found = np.divide(found, dtype.storage.type(n))
    kept = kept_shape(shape, axes)
    title = "MeanBackward0" if dim is None else "MeanBackward1"
    return record(title, found, dtype, (input,), (lambda g: g.reshape(kept).expand(shape) / n,))


@method
@function
def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """Sum of what is not NaN."""
    return retitled(input.masked_fill(input.isnan(), 0).sum(dim, keepdim, dtype=dtype), "NansumBackward0")


@method
@function
def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """Mean of what is not NaN."""
    return nansum(input, dim, keepdim, dtype=dtype) / (~input.isnan()).sum(dim, keepdim)


@method
@function
def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Product over an axis, or over everything."""
    array = input._array
    if dtype is None:
        dtype = input.dtype if input.dtype.kind > 1 else dtypes.int64
    axes = axes_of(dim, array.ndim)
    found = packed(array.prod(axis=axes, keepdims=keepdim, dtype=dtype.storage))
    kept = kept_shape(array.shape, axes)

    def vjp(g: Tensor) -> Tensor:
        # the product of all others, which division would not give where one is zero
        d = axes[0] if dim is not None else 0
        flat = input if dim is not None else input.reshape(-1)
        one = flat.new_ones([1 if i == d else s for i, s in enumerate(flat.shape)])
        n = flat.shape[d]
        before = cat([one, flat.narrow(d, 0, n - 1)], d).cumprod(d)
        after = cat([one, flat.flip(d).narrow(d, 0, n - 1)], d).cumprod(d).flip(d)
        return g.reshape(kept) * (before * after).reshape(array.shape)

    title = "ProdBackward0" if dim is None else "ProdBackward1"
    return record(title, found, dtype, (input,), (vjp,), (input,))


@method
@function
def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether nothing is zero."""
    array = input._array
    return make(packed(array.all(axis=axes_of(dim, array.ndim), keepdims=keepdim)), dtypes.bool_)


@method
@function
def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether something is not zero."""
    array = input._array
    return make(packed(array.any(axis=axes_of(dim, array.ndim), keepdims=keepdim)), dtypes.bool_)


@method
@function
def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many are not zero."""
    array = input._array
    found = np.count_nonzero(array, axis=axes_of(dim, array.ndim))
    return make(np.asarray(found, np.int64), dtypes.int64)
