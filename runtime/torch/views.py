"""Views of the same memory: other shapes, other orders of axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.modes import mode
from torch.autograd.record import record
from torch.autograd.record import view as view_of
from torch.tensor import Tensor, check_dim, function, make, method, share

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch.types import Array, Dims, DType, Shape, Sizes


def sizes_of(shape: Sizes) -> Shape:
    """Accept a shape as one sequence or as single numbers."""
    if len(shape) == 1 and not isinstance(shape[0], int):
        first = shape[0]
        shape = first if isinstance(first, tuple | list) else (first,)
    return tuple(map(int, shape))


def _fill_in(shape: Shape, n: int) -> Shape:
    """Replace the -1 of a shape."""
    if -1 not in shape:
        if math.prod(shape) != n:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
        return shape
    if shape.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    rest = math.prod(size for size in shape if size != -1)
    if rest == 0:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified "
            "dimension size -1 can be any value and is ambiguous"
        )
    if n % rest:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
    return tuple(n // rest if size == -1 else size for size in shape)


def _reshaped(input: Tensor, shape: Shape) -> tuple[Array, bool]:
    """The array in that shape, and whether it shares the memory."""
    array = input._array
    found = array.reshape(shape)
    return found, not array.size or array.flags.c_contiguous or np.may_share_memory(found, array)


def _reshaped_view(input: Tensor, found: Array) -> Tensor:
    old, shape = input._array.shape, found.shape
    return view_of("ViewBackward0", input, found, lambda g: _back(g, old), lambda t: t.view(shape))


def _back(g: Tensor, shape: Shape) -> Tensor:
    """The gradient in another shape; where nothing is recorded, without all that a view has to know."""
    return g.reshape(shape) if mode.enabled else share(g._array.reshape(shape), g.dtype)


@method
@function
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """Return the elements in another shape, without a copy where that is possible."""
    found, is_view = _reshaped(input, _fill_in(sizes_of(shape), input._array.size))
    if is_view:
        return _reshaped_view(input, found)
    old = input._array.shape
    return record("UnsafeViewBackward0", found, input.dtype, (input,), (lambda g: _back(g, old),))


@method
def view(self: Tensor, *shape: Any) -> Tensor:
    """Return the elements in another shape, in the same memory."""
    if len(shape) == 1 and isinstance(shape[0], dtypes.dtype):
        return _view_as_type(self, shape[0])
    found, is_view = _reshaped(self, _fill_in(sizes_of(shape), self._array.size))
    if not is_view:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans "
            "across two contiguous subspaces). Use .reshape(...) instead."
        )
    return _reshaped_view(self, found)


def _view_as_type(self: Tensor, dtype: DType) -> Tensor:
    if self.dtype.rounded is not None or dtype.rounded is not None:
        raise NotImplementedError(
            "a view of half precision as another type is not in the in-page subset; run with PyTorch"
        )
    out = make(self._array.view(dtype.storage), dtype)
    out._root = self if self._root is None else self._root
    return out


@method
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """View in the shape of another."""
    return self.view(other.shape)


@method
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """Reshape to the shape of another."""
    return self.reshape(other.shape)


@method
@function
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Make one axis of several."""
    shape = input._array.shape
    if not shape:
        return input.reshape(1)
    first, last = check_dim(start_dim, len(shape)), check_dim(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if first == last:
        return input
    return input.reshape((*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


@method
@function
def ravel(input: Tensor) -> Tensor:
    """Make one axis of all."""
    return input.reshape(-1)


@method
@function
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Make several axes of one."""
    shape = input._array.shape
    dim = check_dim(dim, len(shape))
    sizes = tuple(sizes)
    if -1 not in sizes and math.prod(sizes) != shape[dim]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
            f"({shape[dim]}) in the input tensor"
        )
    return input.view((*shape[:dim], *_fill_in(sizes, shape[dim]), *shape[dim + 1 :]))


@method
@function
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Swap two axes."""
    ndim = input._array.ndim
    a, b = check_dim(dim0, ndim), check_dim(dim1, ndim)
    array = input._array.swapaxes(a, b) if ndim else input._array[()].reshape(())

    def vjp(g: Tensor) -> Tensor:
        return g.transpose(a, b) if mode.enabled else share(g._array.swapaxes(a, b), g.dtype)

    return view_of("TransposeBackward0", input, array, vjp, lambda t: t.transpose(a, b))


@method
@function
def t(input: Tensor) -> Tensor:
    """Transpose a matrix."""
    if input._array.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input._array.ndim}D")
    return view_of("TBackward0", input, input._array.T, lambda g: g.t(), lambda t: t.t())


@method
@function
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Reorder the axes."""
    dims = sizes_of(dims)
    ndim = input._array.ndim
    if len(dims) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the "
            "desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(dims)}"
        )
    dims = tuple(check_dim(d, ndim) for d in dims)
    if len(set(dims)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    back = tuple(int(i) for i in np.argsort(dims))
    return view_of(
        "PermuteBackward0",
        input,
        input._array.transpose(dims),
        lambda g: g.permute(back),
        lambda t: t.permute(dims),
    )


@method
@function
def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Move axes to other places."""
    ndim = input._array.ndim
    sources = [check_dim(d, ndim) for d in ([source] if isinstance(source, int) else source)]
    targets = [check_dim(d, ndim) for d in ([destination] if isinstance(destination, int) else destination)]
    order = [d for d in range(ndim) if d not in sources]
    for to, of in sorted(zip(targets, sources, strict=True)):
        order.insert(to, of)
    return input.permute(order)


def _matrix_transpose(self: Tensor) -> Tensor:
    """Swap the last two axes."""
    if self._array.ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {self._array.ndim}-D "
            "tensor."
        )
    return self.transpose(-2, -1)


def _reversed_axes(self: Tensor) -> Tensor:
    """Reverse the axes."""
    return self.permute(tuple(range(self._array.ndim))[::-1])


for _name, _transposed in {
    "mT": _matrix_transpose, "mH": lambda self: self.mT.conj(),
    "T": _reversed_axes, "H": lambda self: self.transpose(0, 1).conj(),
}.items():  # fmt: skip
    setattr(Tensor, _name, property(_transposed))


@method
@function
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Insert an axis of one element."""
    dim = check_dim(dim, input._array.ndim + 1)
    array = np.expand_dims(input._array, dim)
    return view_of("UnsqueezeBackward0", input, array, lambda g: g.squeeze(dim), lambda t: t.unsqueeze(dim))


@method
@function
def squeeze(input: Tensor, dim: Dims = None) -> Tensor:
    """Remove axes of one element: all, or those named."""
    array = input._array
    if dim is None:
        dims, title = list(range(array.ndim)), "SqueezeBackward0"
    elif isinstance(dim, int):
        dims, title = [check_dim(dim, array.ndim)], "SqueezeBackward1"
    else:
        dims, title = [check_dim(d, array.ndim) for d in dim], "SqueezeBackward2"
    old = array.shape
    shape = tuple(size for i, size in enumerate(old) if size != 1 or i not in dims)
    return view_of(
        title,
        input,
        array.reshape(shape),
        lambda g: g.reshape(old),
        lambda t: t.squeeze(dim) if dim is not None else t.squeeze(),
    )


@method
def expand(self: Tensor, *sizes: Any) -> Tensor:
    """Repeat axes of one element without a copy; -1 leaves an axis as it is."""
    sizes = sizes_of(sizes)
    old = self._array.shape
    extra = len(sizes) - len(old)
    if extra < 0:
        raise RuntimeError(
            f"expand({{{list(old)}}}, size={list(sizes)}): the number of sizes provided ({len(sizes)}) must "
            f"be greater or equal to the number of dimensions in the tensor ({len(old)})"
        )
    shape = tuple(old[i - extra] if size == -1 and i >= extra else size for i, size in enumerate(sizes))
    for i, size in enumerate(old):
        if size not in (1, shape[i + extra]):
            raise RuntimeError(
                f"The expanded size of the tensor ({shape[i + extra]}) must match the existing size "
                f"({size}) at non-singleton dimension {i + extra}.  Target sizes: {list(sizes)}.  Tensor "
                f"sizes: {list(old)}"
            )
    # the walk back adds up over what was repeated
    return view_of(
        "ExpandBackward0", self, np.broadcast_to(self._array, shape), lambda g: g, lambda t: t.expand(shape)
    )


@method
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Expand to the shape of another."""
    return self.expand(other.shape)


@method
@function
def broadcast_to(input: Tensor, *size: Any) -> Tensor:
    """Expand to a shape."""
    return input.expand(*size)
