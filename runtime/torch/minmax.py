"""The maximum, the minimum, the median, and their indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record
from torch.reductions import axes_of, check_items, kept_shape
from torch.tensor import Tensor, check_dim, function, make, method, packed
from torch.tuples import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.tuples import Named
    from torch.types import Array, Compute, Dims, Shape, Vjp


def shared(input: Tensor, y: Tensor, axes: Shape, keepdim: bool) -> Vjp:
    """Gradient of an extreme: shared by all that equal it."""

    def vjp(g: Tensor) -> Tensor:
        kept = kept_shape(input._array.shape, axes)
        same = input == y.reshape(kept)
        return g.reshape(kept) * (same / same.sum(axes, keepdim=True) if axes else 1)

    return vjp


def _extremes(name: str, compute: Compute, title: str) -> Callable[..., Tensor]:
    def operation(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
        array = input._array
        axes = axes_of(dim, array.ndim)
        check_items(input, axes, name)
        found = make(packed(compute(array, axis=axes, keepdims=keepdim)), input.dtype)
        return record(
            title, found._array, input.dtype, (input,), (shared(input, found, axes, keepdim),), (input,)
        )

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = f"{name[1:].capitalize()}imum over axes; NaN wins."
    return method(function(operation))


amax = _extremes("amax", np.max, "AmaxBackward0")
amin = _extremes("amin", np.min, "AminBackward0")


def _extreme(
    input: Tensor,
    dim: int | Tensor | None,
    keepdim: bool,
    name: str,
    compute: Compute,
    locate: Compute,
    elementwise: Callable[[Tensor, Tensor], Tensor],
) -> Tensor | Named:
    if isinstance(dim, Tensor):
        return elementwise(input, dim)
    array = input._array
    if dim is None:
        axes = axes_of(None, array.ndim)
        check_items(input, axes, name)
        found = make(compute(array), input.dtype)
        return record(
            f"{name.capitalize()}Backward1",
            found._array,
            input.dtype,
            (input,),
            (shared(input, found, axes, False),),
            (input,),
        )
    d = check_dim(dim, array.ndim)
    if array.ndim == 0:
        return named(name, values=input.clone(), indices=make(np.zeros((), np.int64), dtypes.int64))
    check_items(input, (d,), name)
    where = locate(array, axis=d, keepdims=True).astype(np.int64)
    return chosen(input, where, d, keepdim, name, f"{name.capitalize()}Backward0")


def chosen(input: Tensor, where: Array, d: int, keepdim: bool, name: str, title: str) -> Named:
    """Values at one place along an axis, with the places."""
    array = input._array
    values = np.take_along_axis(array, where, d)
    if not keepdim:
        values = values.squeeze(d)
    indices = make(where if keepdim else where.squeeze(d), dtypes.int64)
    places = make(where, dtypes.int64)
    shape = array.shape

    def vjp(g: Tensor) -> Tensor:
        g = g if keepdim else g.unsqueeze(d)
        return g.new_zeros(shape).scatter(d, places, g)

    return named(name, values=record(title, values, input.dtype, (input,), (vjp,)), indices=indices)


@method
@function
def max(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Tensor | Named:
    """Maximum of everything, or along an axis with its places, or of two tensors."""
    return _extreme(input, dim, keepdim, "max", np.max, np.argmax, Tensor.maximum)


@method
@function
def min(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Tensor | Named:
    """Minimum of everything, or along an axis with its places, or of two tensors."""
    return _extreme(input, dim, keepdim, "min", np.min, np.argmin, Tensor.minimum)


@function
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Named:
    """Minimum and maximum."""
    dims = () if dim is None else dim
    return named("aminmax", min=amin(input, dims, keepdim), max=amax(input, dims, keepdim))


def _place(name: str, locate: Compute) -> Callable[..., Tensor]:
    def operation(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        array = input._array
        if array.size == 0 and (dim is None or array.shape[check_dim(dim, array.ndim)] == 0):
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        if array.ndim == 0:
            return make(np.zeros((), np.int64), dtypes.int64)
        axis = None if dim is None else check_dim(dim, array.ndim)
        return make(np.asarray(locate(array, axis=axis, keepdims=keepdim), np.int64), dtypes.int64)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = f"Place of the {name[3:]}imum, the first of several; NaN wins."
    return method(function(operation))


argmax = _place("argmax", np.argmax)
argmin = _place("argmin", np.argmin)


@method
@function
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | Named:
    """The middle one, of an even number the lower one; along an axis with its places."""
    array = input._array
    if dim is None:
        if array.size == 0:
            return make(np.asarray(np.nan, array.dtype), input.dtype)
        flat = input.reshape(-1)
        found = _median(flat._array, 0)
        return chosen(flat, found, 0, False, "median", "MedianBackward0").values
    d = check_dim(dim, array.ndim)
    return chosen(input, _median(array, d), d, keepdim, "median", "MedianBackward1")


def _median(array: Array, axis: int) -> Array:
    order = np.argsort(array, axis=axis, kind="stable").astype(np.int64)
    where = np.take(order, [(array.shape[axis] - 1) // 2], axis)
    if array.dtype.kind == "f":
        nan = np.isnan(array)
        where = np.where(nan.any(axis, keepdims=True), nan.argmax(axis, keepdims=True), where)
    return where.astype(np.int64)
