"""Elements by indices along one axis: gather, scatter and kin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.modes import mode
from torch.autograd.record import record, retitled
from torch.tensor import Tensor, check_dim, function, make, method, packed

if TYPE_CHECKING:
    from typing import Any

    from torch.types import Array, Number, Operand


def _grid(index: Array, dim: int) -> tuple[Array, ...]:
    """Index that takes, along `dim`, the element each index names."""
    return tuple(
        index
        if i == dim
        else np.arange(n, dtype=np.intp).reshape([-1 if j == i else 1 for j in range(index.ndim)])
        for i, n in enumerate(index.shape)
    )


def _along(input: Tensor, dim: int, index: Tensor, name: str) -> tuple[int, tuple[Array, ...]]:
    """Check an index for gather and kin, and make a numpy index of it."""
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    array, places = input._array, index._array
    dim = check_dim(dim, array.ndim)
    if max(array.ndim, 1) != max(places.ndim, 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    if array.ndim == 0:
        return dim, () if places.ndim == 0 else (np.zeros(places.shape, np.intp),)
    for i in range(array.ndim):
        if i != dim and places.shape[i] > array.shape[i]:
            raise RuntimeError(
                f"Size does not match at dimension {i} expected index {list(places.shape)} to be no larger "
                f"than self {list(array.shape)} apart from dimension {dim}"
            )
    if places.size and (int(places.min()) < 0 or int(places.max()) >= array.shape[dim]):
        bad = places[(places < 0) | (places >= array.shape[dim])].ravel()[0]
        raise RuntimeError(
            f"index {int(bad)} is out of bounds for dimension {dim} with size {array.shape[dim]}"
        )
    return dim, _grid(places, dim)


@method
@function
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Take, along an axis, the elements that an index names."""
    if index._array.size == 0:
        return record(
            "GatherBackward0",
            np.zeros(index._array.shape, input._array.dtype),
            input.dtype,
            (input,),
            (lambda g: g.new_zeros(input.shape),),
        )
    dim, places = _along(input, dim, index, "gather")
    shape = input._array.shape

    def vjp(g: Tensor) -> Tensor:
        return g.new_zeros(shape).scatter_add(dim, index, g)

    return record("GatherBackward0", input._array[places], input.dtype, (input,), (vjp,), (index,))


@method
@function
def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Operand | None = None,
    *,
    value: Operand | None = None,
    reduce: str | None = None,
) -> Tensor:
    """Return a copy with, along an axis, values at the places that an index names."""
    if reduce is not None:
        raise NotImplementedError(
            f"scatter(reduce={reduce!r}) is not in the in-page subset; use scatter_add or scatter_reduce"
        )
    src = value if src is None else src
    dim, places = _along(input, dim, index, "scatter")
    array = input._array.copy()
    if not isinstance(src, Tensor):
        if index._array.size:
            array[places] = src
        return record(
            "ScatterBackward1",
            array,
            input.dtype,
            (input,),
            (lambda g: g.scatter(dim, index, 0.0),),
            (index,),
        )
    if src.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    part = tuple(slice(0, n) for n in index.shape)
    if index._array.size:
        array[places] = src._array[part] if src._array.ndim else src._array
    vjps = (lambda g: g.scatter(dim, index, 0.0), lambda g: g.gather(dim, index))
    return record("ScatterBackward0", array, input.dtype, (input, src), vjps, (index,))


@method
@function
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Return a copy to which, along an axis, values are added at the places that an index names."""
    if src.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    dim, places = _along(input, dim, index, "scatter_add")
    array = input._array.copy()
    if index._array.size:
        part = src._array[tuple(slice(0, n) for n in index.shape)] if src._array.ndim else src._array
        np.add.at(array, places, part)
    vjps = (lambda g: g, lambda g: g.gather(dim, index))
    return record("ScatterAddBackward0", array, input.dtype, (input, src), vjps, (index,))


@method
@function
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Combine values along an axis at the places that an index names: sum, prod, mean, amax or amin."""
    if reduce == "sum" and include_self:
        return scatter_add(input, dim, index, src)
    if (input.requires_grad or src.requires_grad) and mode.enabled:
        raise NotImplementedError(
            f"the gradient of scatter_reduce(reduce={reduce!r}) is not in the in-page subset; run with "
            "PyTorch"
        )
    dim, places = _along(input, dim, index, "scatter_reduce")
    array = input._array.copy()
    part = src._array[tuple(slice(0, n) for n in index.shape)]
    combine = {"sum": np.add, "prod": np.multiply, "mean": np.add, "amax": np.maximum, "amin": np.minimum}[
        reduce
    ]
    if not include_self:
        floating = array.dtype.kind == "f"
        low = -np.inf if floating else np.iinfo(array.dtype).min
        high = np.inf if floating else np.iinfo(array.dtype).max
        array[places] = {"sum": 0, "prod": 1, "mean": 0, "amax": low, "amin": high}[reduce]
    combine.at(array, places, part)
    if reduce == "mean":
        counts = np.full(array.shape, int(include_self))
        np.add.at(counts, places, 1)
        counts = np.maximum(counts, 1)
        array = (array / counts if array.dtype.kind == "f" else array // counts).astype(array.dtype)
    return make(array, input.dtype)


@method
@function
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Gather, with broadcasting."""
    if dim is None:
        return input.reshape(-1).gather(0, indices.reshape(-1))
    dim = check_dim(dim, input._array.ndim)
    a, b = list(input.shape), list(indices.shape)
    common = np.broadcast_shapes(
        tuple(1 if i == dim else n for i, n in enumerate(a)),
        tuple(1 if i == dim else n for i, n in enumerate(b)),
    )

    def expand(tensor: Tensor, n: int) -> Tensor:
        return tensor.expand([n if i == dim else size for i, size in enumerate(common)])

    return expand(input, a[dim]).gather(dim, expand(indices, b[dim]))


@method
@function
def take(input: Tensor, index: Tensor) -> Tensor:
    """Take elements as if the tensor were one row."""
    return retitled(input.reshape(-1)[index], "TakeBackward0")


@method
@function
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Take whole slices along an axis."""
    if index._array.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            f"index_select(): Expected dtype int32 or int64 for index but got: {index.dtype.title}"
        )
    dim = check_dim(dim, input._array.ndim)
    places = index._array.reshape(-1)
    shape = input._array.shape
    size = shape[dim] if shape else 1
    if places.size and (int(places.min()) < 0 or int(places.max()) >= size):
        raise IndexError("index out of range in self")
    if not shape:
        return record("IndexSelectBackward0", input._array.copy(), input.dtype, (input,), (lambda g: g,))

    def vjp(g: Tensor) -> Tensor:
        return g.new_zeros(shape).index_add(dim, index, g)

    return record(
        "IndexSelectBackward0",
        packed(input._array[slices_of(index, dim)]),
        input.dtype,
        (input,),
        (vjp,),
        (index,),
    )


def slices_of(index: Tensor, dim: int) -> tuple[Any, ...]:
    """Index of whole slices along an axis."""
    return (slice(None),) * dim + (index._array.reshape(-1),)


@method
@function
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Number = 1) -> Tensor:
    """Return a copy to whose slices along an axis those of `source` are added."""
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"index_add_(): self ({input.dtype.title}) and source ({source.dtype.title}) must have the same "
            "scalar type"
        )
    dim = check_dim(dim, input._array.ndim)
    array = input._array.copy()
    scaled = source._array if alpha == 1 else source._array * array.dtype.type(alpha)
    if index._array.size and (int(index._array.min()) < 0 or int(index._array.max()) >= array.shape[dim]):
        raise IndexError("index out of range in self")
    np.add.at(array, slices_of(index, dim), scaled)
    vjps = (lambda g: g, lambda g: g.index_select(dim, index) * alpha)
    return record("IndexAddBackward0", array, input.dtype, (input, source), vjps, (index,))


@method
@function
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Return a copy whose slices along an axis are those of `source`."""
    dim = check_dim(dim, input._array.ndim)
    array = input._array.copy()
    array[slices_of(index, dim)] = source._array
    vjps = (lambda g: g.index_fill(dim, index, 0), lambda g: g.index_select(dim, index))
    return record("IndexCopyBackward0", array, input.dtype, (input, source), vjps, (index,))


@method
@function
def index_fill(input: Tensor, dim: int, index: Tensor, value: Operand) -> Tensor:
    """Return a copy whose slices along an axis hold one value."""
    dim = check_dim(dim, input._array.ndim)
    array = input._array.copy()
    array[slices_of(index, dim)] = value.item() if isinstance(value, Tensor) else value
    return record(
        "IndexFillBackward0", array, input.dtype, (input,), (lambda g: g.index_fill(dim, index, 0),), (index,)
    )
