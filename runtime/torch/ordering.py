"""Sorting, searching and counting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record, retitled
from torch.tensor import Tensor, check_dim, function, make, method
from torch.tuples import named

if TYPE_CHECKING:
    from typing import Literal

    from torch.tuples import Named
    from torch.types import Array, Operand


def _order(array: Array, axis: int, descending: bool) -> Array:
    """Places in sorted order; equal elements keep theirs, and NaN counts as the largest."""
    if not descending:
        return np.argsort(array, axis=axis, kind="stable").astype(np.int64)
    backwards = np.argsort(np.flip(array, axis), axis=axis, kind="stable").astype(np.int64)
    return array.shape[axis] - 1 - np.flip(backwards, axis)


def _picked(input: Tensor, order: Array, dim: int, name: str, title: str) -> Named:
    shape = input._array.shape
    places = make(order, dtypes.int64)

    def vjp(g: Tensor) -> Tensor:
        return g.new_zeros(shape).scatter(dim, places, g)

    values = record(title, np.take_along_axis(input._array, order, dim), input.dtype, (input,), (vjp,))
    return named(name, values=values, indices=places)


@method
@function
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Named:
    """Sorted elements along an axis, and their places."""
    dim = check_dim(dim, input._array.ndim)
    if input._array.ndim == 0:
        return named("sort", values=input.clone(), indices=make(np.zeros((), np.int64), dtypes.int64))
    return _picked(input, _order(input._array, dim, descending), dim, "sort", "SortBackward0")


@method
@function
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Places of the elements in sorted order."""
    dim = check_dim(dim, input._array.ndim)
    if input._array.ndim == 0:
        return make(np.zeros((), np.int64), dtypes.int64)
    return make(_order(input._array, dim, descending), dtypes.int64)


@method
@function
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Named:
    """The largest or smallest elements along an axis, and their places."""
    dim = check_dim(dim, input._array.ndim)
    if input._array.ndim == 0:
        return named("topk", values=input.clone(), indices=make(np.zeros((), np.int64), dtypes.int64))
    if not 0 <= k <= input._array.shape[dim]:
        raise RuntimeError("selected index k out of range")
    order = np.take(_order(input._array, dim, largest), range(k), dim)
    return _picked(input, order, dim, "topk", "TopkBackward0")


@method
@function
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Named:
    """The k-th smallest element along an axis, and its place."""
    dim = check_dim(dim, input._array.ndim)
    order = np.take(_order(input._array, dim, False), [k - 1], dim)
    found = _picked(input, order, dim, "kthvalue", "KthvalueBackward0")
    if keepdim:
        return found
    values = retitled(found.values.squeeze(dim), "KthvalueBackward0")
    return named("kthvalue", values=values, indices=found.indices.squeeze(dim))


@function
def searchsorted(
    sorted_sequence: Tensor,
    input: Operand,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
) -> Tensor:
    """Where to insert elements into a sorted row, of each row of a batch."""
    right = right or side == "right"
    sequence = sorted_sequence._array
    values = input._array if isinstance(input, Tensor) else np.asarray(input, sequence.dtype)
    common = np.promote_types(sequence.dtype, values.dtype) if isinstance(input, Tensor) else sequence.dtype
    rule: Literal["left", "right"] = "right" if right else "left"
    if sequence.ndim == 1:
        found = np.searchsorted(sequence.astype(common), values.astype(common), rule)
    else:
        rows = sequence.reshape(-1, sequence.shape[-1]).astype(common)
        wanted = values.reshape(len(rows), -1).astype(common)
        found = np.stack([np.searchsorted(r, w, rule) for r, w in zip(rows, wanted, strict=True)]).reshape(
            values.shape
        )
    d = dtypes.int32 if out_int32 else dtypes.int64
    return make(np.asarray(found, d.storage), d)


@function
def bucketize(input: Operand, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """Which interval between boundaries each element falls into."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@method
@function
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number occurs."""
    if input._array.ndim != 1 or input.dtype.kind > 1 or (input._array.size and int(input._array.min()) < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    w = None if weights is None else weights._array.astype(np.float64)
    found = np.bincount(input._array.astype(np.intp), w, minlength)  # which has 32 bits in the tab
    if weights is None:
        return make(found.astype(np.int64), dtypes.int64)
    d = weights.dtype if weights.dtype is dtypes.float32 else dtypes.float64
    return make(found.astype(d.storage), d)


@method
@function
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """Each element once, in order."""
    found = np.unique(input._array, return_index=False, return_inverse=True, return_counts=True, axis=dim)
    values, inverse, counts = found
    inverse = inverse.reshape(input._array.shape if dim is None else (-1,))
    out = [make(values, input.dtype)]
    if return_inverse:
        out.append(make(inverse.astype(np.int64), dtypes.int64))
    if return_counts:
        out.append(make(counts.astype(np.int64), dtypes.int64))
    return out[0] if len(out) == 1 else tuple(out)


@method
@function
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Tensor | tuple[Tensor, ...]:
    """Each element once per run of equal ones."""
    if dim is not None:
        raise NotImplementedError(
            "unique_consecutive(dim=...) is not in the in-page subset; run with PyTorch"
        )
    flat = input._array.reshape(-1)
    starts = (
        np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
        if flat.size
        else np.zeros(0, np.int64)
    )
    out = [make(flat[starts], input.dtype)]
    if return_inverse:
        inverse = np.zeros(flat.size, np.int64)
        inverse[starts[1:]] = 1
        out.append(make(inverse.cumsum().reshape(input._array.shape), dtypes.int64))
    if return_counts:
        out.append(make(np.diff(np.append(starts, flat.size)).astype(np.int64), dtypes.int64))
    return out[0] if len(out) == 1 else tuple(out)


@function
def isin(elements: Operand, test_elements: Operand) -> Tensor:
    """Whether elements are among others."""
    x = elements._array if isinstance(elements, Tensor) else elements
    y = test_elements._array if isinstance(test_elements, Tensor) else test_elements
    return make(np.isin(x, y), dtypes.bool_)


@method
@function
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts of the elements in equal intervals."""
    array = input._array
    if min == max:
        min, max = (float(array.min()), float(array.max())) if array.size else (0.0, 1.0)
    counts, _ = np.histogram(array, bins, (min, max))
    return make(counts.astype(array.dtype), input.dtype)
