"""Slices of a tensor: select, narrow, split, chunk, unbind, diagonal and unfold. They share its memory."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from torch.autograd.record import record, record_many, view
from torch.joining import cat, stack
from torch.tensor import check_dim, function, method, share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from torch.tensor import Tensor
    from torch.types import Array, Shape


def embed(g: Tensor, shape: Shape, index: tuple[Any, ...], title: str = "SliceBackward0") -> Tensor:
    """Put a gradient at its place among zeros."""
    array = np.zeros(shape, g._array.dtype)
    array[index] = g._array
    return record(title, array, g.dtype, (g,), (lambda gg: gg[index],))


@method
@function
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One element along an axis."""
    if input._array.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = check_dim(dim, input._array.ndim)
    size = input._array.shape[dim]
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {dim}"
        )
    return basic(input, (slice(None),) * dim + (index,), "SelectBackward0")


@method
@function
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A range along an axis."""
    dim = check_dim(dim, input._array.ndim)
    size = input._array.shape[dim]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -size <= start <= size:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-size}, {size}], but got {start})"
        )
    start = start + size if start < 0 else start
    if start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return basic(input, (slice(None),) * dim + (slice(start, start + length),), "SliceBackward0")


def basic(input: Tensor, index: tuple[Any, ...], title: str) -> Tensor:
    """The view that a tuple of integers, slices, None and ... names."""
    array = input._array[index]
    if type(array) is not np.ndarray:  # numpy would copy the element
        array = input._array[(*index, ...)]
    shape = input._array.shape
    return view(
        title, input, array, lambda g: embed(g, shape, index, title), lambda t: basic(t, index, title)
    )


@method
@function
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along an axis: of one size, the last one smaller, or of the sizes listed."""
    dim = check_dim(dim, tensor._array.ndim)
    total = tensor._array.shape[dim]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step < 0 or (step == 0 and total):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
        sizes = [min(step, total - at) for at in range(0, total, step)] if total else [0]
        title = "SplitBackward0"
    else:
        sizes = [int(size) for size in split_size_or_sections]
        if sum(sizes) != total or min(sizes, default=0) < 0:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {total} (input tensor's size at "
                f"dimension {dim}), but got split_sizes={sizes}"
            )
        title = "SplitWithSizesBackward0"
    ends = accumulate(sizes)
    index = [(slice(None),) * dim + (slice(end - size, end),) for size, end in zip(sizes, ends, strict=True)]
    return _parts(tensor, index, title, lambda gs: cat(gs, dim))


@method
@function
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most that many parts of one size along an axis."""
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    total = input._array.shape[check_dim(dim, input._array.ndim)]
    return split(input, max(1, -(-total // chunks)), dim)


@method
@function
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All elements along an axis."""
    if input._array.ndim == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = check_dim(dim, input._array.ndim)
    index = [(slice(None),) * dim + (i,) for i in range(input._array.shape[dim])]
    return _parts(input, index, "UnbindBackward0", lambda gs: stack(gs, dim))


def _parts(
    input: Tensor, index: list[tuple[Any, ...]], title: str, join: Callable[[Sequence[Tensor]], Tensor]
) -> tuple[Tensor, ...]:
    outputs = []
    for i in index:
        out = share(input._array[(*i, ...)], input.dtype)
        out._root = input if input._root is None else input._root
        outputs.append(out)
        # written to, a part stands for a view of its own
        out._parent, out._replay, out._seen = input, (lambda t, i=i: basic(t, i, title)), out._root._changes
    record_many(title, outputs, (input,), lambda *gs: (join(gs),))
    return tuple(outputs)


@method
@function
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two axes, as the last axis."""
    dim1, dim2 = check_dim(dim1, input._array.ndim), check_dim(dim2, input._array.ndim)

    def writable(array: Array) -> Array:
        found = array.diagonal(offset, dim1, dim2)
        found.flags.writeable = array.flags.writeable  # numpy's is read-only
        return found

    shape = input._array.shape

    def vjp(g: Tensor) -> Tensor:
        out = np.zeros(shape, g._array.dtype)
        writable(out)[...] = g._array
        return record("DiagonalBackward0", out, g.dtype, (g,), (lambda gg: gg.diagonal(offset, dim1, dim2),))

    return view(
        "DiagonalBackward0", input, writable(input._array), vjp, lambda t: t.diagonal(offset, dim1, dim2)
    )


@method
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows along an axis, as a new last axis."""
    array = self._array
    d = check_dim(dimension, array.ndim)
    if size > array.shape[d]:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {array.shape[d]} but size is {size}")
    n = (array.shape[d] - size) // step + 1
    shape = (*array.shape[:d], n, *array.shape[d + 1 :], size)
    strides = (*array.strides[:d], array.strides[d] * step, *array.strides[d + 1 :], array.strides[d])
    old = array.shape

    def vjp(g: Tensor) -> Tensor:
        out = np.zeros(old, g._array.dtype)
        moved = np.moveaxis(out, d, 0)
        for i in range(n):
            moved[i * step : i * step + size] += np.moveaxis(np.take(g._array, i, d), -1, 0)
        return record("UnfoldBackward0", out, g.dtype, (g,), (lambda gg: gg.unfold(d, size, step),))

    found = np.lib.stride_tricks.as_strided(array, shape, strides)
    return view("UnfoldBackward0", self, found, vjp, lambda t: t.unfold(d, size, step))
