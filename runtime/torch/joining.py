"""Copies: clone, and tensors concatenated, stacked, repeated, flipped and rolled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record, write
from torch.tensor import NAMES, Tensor, alias, check_dim, function, make, method, packed
from torch.views import movedim, sizes_of, transpose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch.types import Dims


@method
@function
def clone(input: Tensor, *, memory_format: object = None) -> Tensor:
    """Return a copy."""
    return record("CloneBackward0", input._array.copy(order="K"), input.dtype, (input,), (lambda g: g,))


@method
def contiguous(self: Tensor, memory_format: object = None) -> Tensor:
    """Return the elements in their order in memory: the tensor itself, or a copy."""
    if self._array.flags.c_contiguous:
        return self
    return record("CloneBackward0", np.ascontiguousarray(self._array), self.dtype, (self,), (lambda g: g,))


@function
def cat(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """Put tensors one after another along an axis, into `out` if that is given."""
    if out is not None:
        return write(out, cat(tensors, dim))
    if isinstance(tensors, Tensor):
        raise TypeError("cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    tensors = list(tensors)
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    ndim = max(t._array.ndim for t in tensors)
    if any(t._array.ndim == 0 for t in tensors):
        at = next(i for i, t in enumerate(tensors) if t._array.ndim == 0)
        raise RuntimeError(f"zero-dimensional tensor (at position {at}) cannot be concatenated")
    dim = check_dim(dim, ndim)
    # an empty vector fits anywhere, for historical reasons
    used = [t for t in tensors if t._array.shape != (0,) or ndim == 1]
    dtype = tensors[0].dtype
    for t in tensors[1:]:
        dtype = dtypes.promote_types(dtype, t.dtype)
    for i, t in enumerate(used):
        if t._array.ndim != ndim:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {ndim} and {t._array.ndim}")
        for d in range(ndim):
            if d != dim and t._array.shape[d] != used[0]._array.shape[d]:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size "
                    f"{used[0]._array.shape[d]} but got size {t._array.shape[d]} for tensor number {i} in "
                    "the list."
                )
    array = np.concatenate([t._array for t in used], dim) if used else tensors[0]._array.copy()
    array = array.astype(dtype.storage, order="C", copy=False)
    sizes = [t._array.shape[dim] for t in used]

    def backward(g: Tensor) -> Sequence[Tensor | None]:
        parts = iter(g.split(sizes, dim))
        kept = {id(t) for t in used}
        return [next(parts) if id(t) in kept else None for t in tensors]

    if len({id(t) for t in used}) < len(used):  # one tensor twice

        def backward(g: Tensor) -> Sequence[Tensor | None]:
            return g.split(sizes, dim)

        return record("CatBackward0", array, dtype, used, backward)
    return record("CatBackward0", array, dtype, tensors, backward)


@function
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Put tensors of one shape along a new axis."""
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = tensors[0]._array.shape
    for i, t in enumerate(tensors):
        if t._array.shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(t.shape)} at entry {i}"
            )
    dim = check_dim(dim, len(first) + 1)
    dtype = tensors[0].dtype
    for t in tensors[1:]:
        dtype = dtypes.promote_types(dtype, t.dtype)
    array = np.stack([t._array for t in tensors], dim).astype(dtype.storage, order="C", copy=False)
    return record("StackBackward0", array, dtype, tensors, lambda g: g.unbind(dim))


@function
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Put tensors side by side."""
    tensors = [t.reshape(1) if t._array.ndim == 0 else t for t in tensors]
    return cat(tensors, 0 if tensors[0]._array.ndim == 1 else 1)


@function
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Put tensors one above the other."""
    return cat([t.reshape(1, -1) if t._array.ndim < 2 else t for t in tensors], 0)


@method
@function
def flip(input: Tensor, *dims: Any) -> Tensor:
    """Reverse the order along axes."""
    dims = tuple(check_dim(d, input._array.ndim) for d in sizes_of(dims))
    array = np.flip(input._array, dims).copy()
    return record("FlipBackward0", array, input.dtype, (input,), (lambda g: g.flip(dims),))


@method
@function
def fliplr(input: Tensor) -> Tensor:
    """Reverse the second axis."""
    return flip(input, 1)


@method
@function
def flipud(input: Tensor) -> Tensor:
    """Reverse the first axis."""
    return flip(input, 0)


@method
@function
def roll(input: Tensor, shifts: int | Sequence[int], dims: Dims = None) -> Tensor:
    """Shift along axes, and in again at the other end."""
    back = -shifts if isinstance(shifts, int) else tuple(-s for s in shifts)
    array = np.roll(packed(input._array), shifts, dims)
    return record("RollBackward0", array, input.dtype, (input,), (lambda g: g.roll(back, dims),))


@method
def repeat(self: Tensor, *sizes: Any) -> Tensor:
    """Repeat the whole tensor along each axis."""
    sizes = sizes_of(sizes)
    old = self._array.shape
    extra = len(sizes) - len(old)
    if extra < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor"
        )
    padded = (1,) * extra + old

    def vjp(g: Tensor) -> Tensor:
        pairs = [n for pair in zip(sizes, padded, strict=True) for n in pair]
        return g.reshape(pairs).sum(tuple(range(0, len(pairs), 2))).reshape(old)

    return record("RepeatBackward0", np.tile(self._array, sizes), self.dtype, (self,), (vjp,))


@method
@function
def tile(input: Tensor, *dims: Any) -> Tensor:
    """Repeat the whole tensor; missing counts are 1."""
    dims = sizes_of(dims)
    return input.repeat((1,) * (input._array.ndim - len(dims)) + dims)


@method
@function
def repeat_interleave(
    input: Tensor, repeats: int | Tensor, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Repeat each element along an axis."""
    if dim is None:
        input, dim = input.reshape(-1), 0
    dim = check_dim(dim, input._array.ndim)
    n = input._array.shape[dim]
    counts = repeats._array.astype(np.intp) if isinstance(repeats, Tensor) else repeats
    where = np.repeat(np.arange(n, dtype=np.int64), counts)
    if isinstance(counts, int):  # torch expands and flattens, so the gradient is a sum
        shape = (*input._array.shape[: dim + 1], counts, *input._array.shape[dim + 1 :])
        array = np.repeat(input._array, counts, dim)
        return record(
            "ViewBackward0", array, input.dtype, (input,), (lambda g: g.reshape(shape).sum(dim + 1),)
        )
    return input.index_select(dim, make(where, dtypes.int64))


@function
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of elements of vectors, a row each."""
    if len(tensors) == 1:
        return tensors[0]
    return stack([g.flatten() for g in meshgrid(*tensors, indexing="ij")], 1)


@function
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Grids of the coordinates."""
    if len(tensors) == 1 and isinstance(tensors[0], tuple | list):
        tensors = tuple(tensors[0])
    if indexing == "xy":
        raise NotImplementedError("meshgrid(indexing='xy') is not in the in-page subset; use indexing='ij'")
    sizes = [t.numel() for t in tensors]
    return tuple(
        t.reshape([-1 if j == i else 1 for j in range(len(tensors))]).expand(sizes)
        for i, t in enumerate(tensors)
    )


NAMES["concat"] = NAMES["concatenate"] = cat
alias("swapaxes", transpose)
alias("swapdims", transpose)
alias("moveaxis", movedim)
