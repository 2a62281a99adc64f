"""Elements where something is true, and triangles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record, retitled
from torch.indexing import advanced
from torch.joining import cat
from torch.promotion import NOTHING, check_broadcast, pair
from torch.tensor import Tensor, function, make, method, packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch.types import Compute, DType, Operand

_C_NAMES = {
    "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
    "int64": "long int",
    "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip


def _check_mask(mask: Tensor, name: str) -> None:
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(
            f"{name} only supports boolean masks, but got mask with dtype {_C_NAMES[mask.dtype.name]}"
        )


@function
def where(condition: Tensor, input: Operand | None = None, other: Operand | None = None) -> Any:
    """Elements of `input` where the condition holds, of `other` elsewhere; or the places where it holds."""
    if input is None:
        return condition.nonzero(as_tuple=True)
    if condition.dtype is not dtypes.bool_:
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{condition.dtype.title}"
        )
    numbers = not isinstance(input, Tensor) and not isinstance(other, Tensor)
    if numbers:
        d = dtypes.promote_types(dtypes.of_scalar(input), dtypes.of_scalar(other))
        x, y, dtype, a, b = np.asarray(input, d.storage), np.asarray(other, d.storage), d, NOTHING, NOTHING
    else:
        x, y, dtype, a, b = pair(input, other)
    check_broadcast(condition._array.shape, np.broadcast_shapes(np.shape(x), np.shape(y)))
    array = np.where(condition._array, x, y).astype(dtype.storage, copy=False)
    vjps = (lambda g: where(condition, g, 0), lambda g: where(condition, 0, g))
    return record("WhereBackward0", array, dtype, (a, b), vjps, (condition,))


def _where(self: Tensor, condition: Tensor, other: Operand) -> Tensor:
    """Elements of this tensor where the condition holds, of `other` elsewhere."""
    return where(condition, self, other)


_where.__name__ = "where"
method(_where)


@method
@function
def masked_fill(input: Tensor, mask: Tensor, value: Operand) -> Tensor:
    """Return a copy with one value where the mask is True."""
    _check_mask(mask, "masked_fill_")
    check_broadcast(mask._array.shape, input._array.shape)
    if isinstance(value, Tensor):
        if value._array.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value._array.ndim} dimension(s)."
            )
        tensors: tuple[Tensor, ...] = (input, value)
        number = value._array
    else:
        tensors, number = (input,), np.asarray(value)
        _check_fits(value, input.dtype)
    array = packed(np.where(mask._array, number.astype(input._array.dtype), input._array))
    vjps = (lambda g: g.masked_fill(mask, 0), lambda g: where(mask, g, 0).sum())[: len(tensors)]
    title = "MaskedFillBackward0" if len(tensors) == 1 else "MaskedFillBackward1"
    return record(title, array, input.dtype, tensors, vjps, (mask,))


def _check_fits(value: Any, dtype: DType) -> None:
    """Raise RuntimeError, as torch does, if a number overflows the type of the tensor."""
    if dtype.kind == 2 and math.isfinite(value) and abs(value) > dtypes.finfo(dtype).max:
        raise RuntimeError(f"value cannot be converted to type {_C_NAMES[dtype.name]} without overflow")


@method
@function
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is True, in one row."""
    _check_mask(mask, "masked_select")
    shape = np.broadcast_shapes(input._array.shape, mask._array.shape)
    wide = np.broadcast_to(mask._array, shape)
    out = input.expand(shape) if input._array.shape != shape else input
    found = advanced(out, (wide,))
    if found._node is not None:
        found._node.title = "MaskedSelectBackward0"
    return found


@method
@function
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Return a copy whose elements under the mask are those of `source`, in order."""
    _check_mask(mask, "masked_scatter_")
    shape = np.broadcast_shapes(input._array.shape, mask._array.shape)
    wide = np.broadcast_to(mask._array, shape)
    array = np.broadcast_to(input._array, shape).copy()
    n = int(wide.sum())
    if n > source._array.size:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes and enough elements: the mask "
            f"has {n}, the source {source._array.size}"
        )
    array[wide] = source._array.reshape(-1)[:n]
    old = source._array.shape

    def from_source(g: Tensor) -> Tensor:
        taken = g.expand(shape).masked_select(mask)
        rest = g.new_zeros(math.prod(old) - n)
        return cat([taken, rest]).reshape(old)

    vjps = (lambda g: g.masked_fill(mask, 0), from_source)
    return record("MaskedScatterBackward0", array, input.dtype, (input, source), vjps, (mask,))


@method
@function
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Tensor | tuple[Tensor, ...]:
    """Places of the elements that are not zero."""
    array = input._array
    places = [p.astype(np.int64) for p in np.nonzero(array.reshape(1) if array.ndim == 0 else array)]
    if as_tuple:
        return tuple(make(p, dtypes.int64) for p in places)
    if array.ndim == 0:
        return make(np.zeros((len(places[0]), 0), np.int64), dtypes.int64)
    return make(np.stack(places, 1), dtypes.int64)


@method
@function
def argwhere(input: Tensor) -> Tensor:
    """Places of the elements that are not zero."""
    return input.nonzero()


def _triangle(name: str, compute: Compute) -> Callable[..., Tensor]:
    def operation(input: Tensor, diagonal: int = 0) -> Tensor:
        if input._array.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        title = f"{name.capitalize()}Backward0"
        return record(
            title, compute(input._array, diagonal), input.dtype, (input,), (lambda g: operation(g, diagonal),)
        )

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = f"The {'lower' if name == 'tril' else 'upper'} triangle, zeros elsewhere."
    return method(function(operation))


tril = _triangle("tril", np.tril)
triu = _triangle("triu", np.triu)


@function
def tril_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """Places of the lower triangle."""
    return make(np.stack(np.tril_indices(row, offset, col)).astype(np.int64), dtypes.int64)


@function
def triu_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """Places of the upper triangle."""
    return make(np.stack(np.triu_indices(row, offset, col)).astype(np.int64), dtypes.int64)


@method
@function
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or a matrix with this diagonal."""
    if input._array.ndim == 2:
        return retitled(input.diagonal(diagonal).clone(), "DiagonalBackward0_copy")
    return diag_embed(input, diagonal)


@method
@function
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with these diagonals."""
    if (dim1, dim2) != (-2, -1):
        raise NotImplementedError("diag_embed(dim1, dim2) is not in the in-page subset; run with PyTorch")
    array = input._array
    n = array.shape[-1] + abs(offset)
    out = np.zeros((*array.shape[:-1], n, n), array.dtype)
    i = np.arange(array.shape[-1])
    out[..., i + max(-offset, 0), i + max(offset, 0)] = array
    vjp = lambda g: g.diagonal(offset, -2, -1)  # noqa: E731
    return record("DiagEmbedBackward0", out, input.dtype, (input,), (vjp,))
