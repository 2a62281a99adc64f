"""Elements by their place between brackets, read and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record, write
from torch.promotion import cast
from torch.slicing import basic
from torch.tensor import Tensor, make, method, packed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch.types import Array, Shape


def _items(index: Any) -> tuple[Any, ...]:
    """What stands between the brackets; a list of lists counts as a tuple, for historical reasons."""
    if type(index) is tuple:
        return index
    if type(index) is list and any(isinstance(each, list | tuple | slice | Tensor | None) for each in index):
        return tuple(index)
    return (index,)


def _is_places(item: object) -> bool:
    """Whether an item of an index is a tensor or a list of places, not a number, a slice, None or ..."""
    if isinstance(item, Tensor):
        return item._array.ndim > 0 or item.dtype is dtypes.bool_
    return isinstance(item, list | np.ndarray | range | bool | tuple)


def places_of(item: Any) -> Array:
    """The array of such an item."""
    array = item._array if isinstance(item, Tensor) else np.asarray(item)
    if array.dtype.kind not in "iub":
        if array.size:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        array = array.astype(np.int64)
    return array


def _plan(input: Tensor, index: Any) -> tuple[tuple[Any, ...], str, tuple[Any, ...] | None]:
    """Split an index into what makes a view and what copies.

    Returns:
        The basic index, torch's name for its way back, and the advanced index of the result or None.
    """
    array = input._array
    items = _items(index)
    used = 0  # axes that the items speak of
    for item in items:
        if _is_places(item):
            places = places_of(item)
            used += places.ndim if places.dtype.kind == "b" else 1
        elif item is not None and item is not Ellipsis:
            used += 1
    if used and not array.ndim:
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
            "convert a 0-dim tensor to a number"
        )
    if used > array.ndim:
        raise IndexError(f"too many indices for tensor of dimension {array.ndim}")
    first: list[Any] = []
    second: list[Any] = []
    title = "AliasBackward0"
    axis = 0
    advanced = False
    for item in items:
        if _is_places(item):
            places = places_of(item)
            n = places.ndim if places.dtype.kind == "b" else 1
            _check_places(places, array.shape, axis)
            first += [slice(None)] * n
            second.append(places)
            axis += n
            advanced = True
        elif item is None:
            first.append(None)
            second.append(slice(None))
            title = "UnsqueezeBackward0"
        elif item is Ellipsis:
            n = array.ndim - used
            first += [slice(None)] * n
            second += [slice(None)] * n
            axis += n
        elif isinstance(item, slice):
            item = slice(
                *(None if each is None else each.__index__() for each in (item.start, item.stop, item.step))
            )
            if item.step is not None and item.step <= 0:
                raise ValueError("step must be greater than zero")
            first.append(item)
            second.append(slice(None))
            if len(items) == 1 or item.indices(array.shape[axis]) != (0, array.shape[axis], 1):
                title = "SliceBackward0"
            axis += 1
        else:
            if isinstance(item, str):
                raise TypeError("new(): invalid data type 'str'")
            try:
                at = item.__index__()
            except (AttributeError, TypeError):
                raise IndexError(
                    "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
                    f"valid indices (got {type(item).__name__})"
                ) from None
            size = array.shape[axis]
            if not -size <= at < size:
                raise IndexError(
                    f"index {at} is out of bounds for dimension {axis + first.count(None)} with size {size}"
                )
            first.append(at)
            title = "SelectBackward0"
            axis += 1
    return tuple(first), title, tuple(second) if advanced else None


def _check_places(places: Array, shape: Shape, axis: int) -> None:
    if places.dtype.kind == "b":
        if places.shape != shape[axis : axis + places.ndim]:
            i = next(i for i, size in enumerate(places.shape) if size != shape[axis + i])
            raise IndexError(
                f"The shape of the mask {list(places.shape)} at index {i} does not match the shape of the "
                f"indexed tensor {list(shape)} at index {axis + i}"
            )
    elif places.size:
        size = shape[axis]
        low, high = int(places.min()), int(places.max())
        if low < -size or high >= size:
            raise IndexError(
                f"index {low if low < -size else high} is out of bounds for dimension {axis} with size {size}"
            )


def _at(array: Array, index: Any) -> Array:
    try:
        return array[index]
    except IndexError as error:
        raise IndexError(str(error).replace("axis", "dimension")) from None


@method
def __getitem__(self: Tensor, index: Any) -> Tensor:
    kind = type(index)
    if kind is int and self._array.ndim:  # the commonest, straight away
        size = self._array.shape[0]
        if -size <= index < size:
            return basic(self, (index,), "SelectBackward0")
    first, title, second = _plan(self, index)
    if second is None:
        return basic(self, first, title)
    saved = tuple(item for item in _items(index) if isinstance(item, Tensor))
    return advanced(self if is_whole(first) else basic(self, first, title), second, saved)


def is_whole(index: tuple[Any, ...]) -> bool:
    """Whether an index names everything."""
    return all(type(item) is slice and item == slice(None) for item in index)


def advanced(input: Tensor, index: tuple[Any, ...], saved: Sequence[Tensor] = ()) -> Tensor:
    """Copy of the elements that an index with arrays names, which lie in the tensors `saved`."""
    shape = input._array.shape
    return record(
        "IndexBackward0",
        packed(_at(input._array, index)),
        input.dtype,
        (input,),
        (lambda g: _put_back(g, shape, index),),
        saved,
    )


def _put_back(g: Tensor, shape: Shape, index: tuple[Any, ...]) -> Tensor:
    """Add gradients up at the places that the elements came from."""
    array = np.zeros(shape, g._array.dtype)
    np.add.at(array, index, g._array)
    return record("IndexPutBackward0", array, g.dtype, (g,), (lambda gg: advanced(gg, index),))


@method
def __setitem__(self: Tensor, index: Any, value: Any) -> None:
    first, title, second = _plan(self, index)
    if not isinstance(value, Tensor):
        value = make(np.asarray(value).astype(self._array.dtype), self.dtype)
    target = self if second is not None and is_whole(first) else basic(self, first, title)
    if second is None:
        _copy_into(target, value)
    else:
        put(target, second, value)


def _copy_into(target: Tensor, value: Tensor) -> Tensor:
    shape = target._array.shape
    array = value._array
    # leading axes of one element are dropped, as torch does
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    try:
        if array.shape != shape:
            array = np.broadcast_to(array, shape)
    except ValueError:
        raise RuntimeError(
            f"The expanded size of the tensor ({shape[-1] if shape else 1}) must match the existing size "
            f"({array.shape[-1] if array.ndim else 1}) at non-singleton dimension {max(len(shape) - 1, 0)}. "
            f" Target sizes: {list(shape)}.  Tensor sizes: {list(array.shape)}"
        ) from None
    copy = record("CopyBackwards", array, value.dtype, (target, value), (lambda g: g * 0, lambda g: g))
    return write(target, copy)


@method
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Write the elements of another tensor into this one, broadcast and cast."""
    return _copy_into(self, src)


def put(target: Tensor, index: tuple[Any, ...], value: Tensor, accumulate: bool = False) -> Tensor:
    """Write values at the places of an advanced index."""
    shape = target._array[index].shape
    array = target._array.copy()
    values = cast(value._array, target.dtype)
    if target.dtype.rounded is not None:
        values = target.dtype.rounded(values)
    try:
        if accumulate:
            np.add.at(array, index, values)
        else:
            array[index] = values
    except ValueError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to indexing "
            f"result of shape {list(shape)}"
        ) from None
    vjps = (
        (lambda g: g) if accumulate else (lambda g: _cleared(g, index)),
        lambda g: advanced(g, index),
    )
    return write(target, record("IndexPutBackward0", array, target.dtype, (target, value), vjps))


def _cleared(g: Tensor, index: tuple[Any, ...]) -> Tensor:
    keep = np.ones(g._array.shape, g._array.dtype)
    keep[index] = 0
    return g * make(keep, g.dtype)


@method
def index_put_(self: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """Write or add values at the places of index tensors."""
    return put(self, tuple(places_of(i) for i in indices), values, accumulate)


@method
def index_put(self: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """Return a copy with values at the places of index tensors."""
    return self.clone().index_put_(indices, values, accumulate)
