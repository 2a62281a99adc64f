"""Running sums, products and extremes, and differences of neighbors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record
from torch.joining import cat
from torch.tensor import check_dim, function, make, method, packed
from torch.tuples import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.tensor import Tensor
    from torch.tuples import Named
    from torch.types import DType


@method
@function
def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Running sum."""
    if dtype is None:
        dtype = input.dtype if input.dtype.kind > 1 else dtypes.int64
    dim = check_dim(dim, input._array.ndim)
    array = input._array
    # torch adds float32 in float64 and rounds each sum
    wide = np.float64 if dtype.storage == np.float32 else dtype.storage
    found = array.cumsum(dim, dtype=wide) if array.ndim else array
    found = found.astype(dtype.storage, order="C")
    return record("CumsumBackward0", found, dtype, (input,), (lambda g: _backwards(g, dim),))


def _backwards(g: Tensor, dim: int) -> Tensor:
    return g.flip(dim).cumsum(dim).flip(dim) if g._array.ndim else g


@method
@function
def cumprod(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Running product."""
    if dtype is None:
        dtype = input.dtype if input.dtype.kind > 1 else dtypes.int64
    dim = check_dim(dim, input._array.ndim)
    wide = np.float64 if dtype.storage == np.float32 else dtype.storage
    found = input._array.cumprod(dim, dtype=wide).astype(dtype.storage, order="C")

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        if (input._array == 0).any():
            return _cumprod_vjp_at_zeros(g, input, dim)
        return _backwards(g * y, dim) / input

    return record("CumprodBackward0", found, dtype, (input,), (vjp,), (input,), keeps_output=True)


def _cumprod_vjp_at_zeros(g: Tensor, input: Tensor, dim: int) -> Tensor:
    """Gradient where division would not give the product of all others: one factor after the other."""
    found = []
    for k in range(input.shape[dim]):
        others = input.index_fill(dim, make(np.array([k]), dtypes.int64), 1).cumprod(dim)
        found.append((g * others).narrow(dim, k, input.shape[dim] - k).sum(dim, keepdim=True))
    return cat(found, dim)


def _running(name: str, better: str, compute: np.ufunc) -> Callable[[Tensor, int], Named]:
    def operation(input: Tensor, dim: int) -> Named:
        array = packed(input._array)
        d = check_dim(dim, array.ndim)
        values = compute.accumulate(array, axis=d)
        # the last place at which the value was reached
        n = np.arange(array.shape[d], dtype=np.int64).reshape(
            [-1 if i == d else 1 for i in range(array.ndim)]
        )
        reached = (array == values) | (np.isnan(array) if array.dtype.kind == "f" else False)
        places = make(np.maximum.accumulate(np.where(reached, n, 0), axis=d), dtypes.int64)
        shape = array.shape

        def vjp(g: Tensor) -> Tensor:
            return g.new_zeros(shape).scatter_add(d, places, g)

        title = f"{name.capitalize()}Backward0"
        return named(name, values=record(title, values, input.dtype, (input,), (vjp,)), indices=places)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = f"Running {better}, and where it is."
    return method(function(operation))


cummax = _running("cummax", "maximum", np.maximum)
cummin = _running("cummin", "minimum", np.minimum)


@method
@function
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """Logarithm of the running sum of the exponentials."""
    found = np.logaddexp.accumulate(packed(input._array), axis=dim)

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        return _backwards(g * (-y).exp(), dim) * input.exp()

    return record("LogcumsumexpBackward0", found, input.dtype, (input,), (vjp,), (input,), keeps_output=True)


@method
@function
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Difference of neighbors."""
    parts = [each for each in (prepend, input, append) if each is not None]
    out = cat(parts, dim) if len(parts) > 1 else input
    for _ in range(n):
        size = out.shape[dim]
        later, sooner = out.narrow(dim, 1, size - 1), out.narrow(dim, 0, size - 1)
        out = later ^ sooner if out.dtype is dtypes.bool_ else later - sooner
    return out
