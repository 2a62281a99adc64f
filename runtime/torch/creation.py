"""Tensors from numbers, lists, arrays and buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.attributes import check_device
from torch.tensor import Tensor, function, make, method

if TYPE_CHECKING:
    from typing import Any, TypeGuard

    from torch.types import Array, Device, DType, Shape

_NUMBERS = {bool, int, float, complex}


def finish(array: Array, dtype: DType, requires_grad: bool) -> Tensor:
    """Make a tensor of an array, and ask for a gradient if one is wanted."""
    out = make(array, dtype)
    if requires_grad:
        if dtype.kind < 2:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        out.requires_grad = True
    return out


def _kind_of(value: Any) -> DType:
    """Type that numbers in nested lists call for."""
    kind, wide = 0, None
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, list | tuple | range):
            types = set(map(type, each))
            if types <= _NUMBERS:
                stack.extend(number() for number in types)  # one of each type will do
            else:
                stack.extend(each)
            continue
        if isinstance(each, Tensor):
            d = each.dtype
        elif isinstance(each, np.ndarray | np.generic):
            d = dtypes.from_numpy_dtype(each.dtype)
        else:
            try:
                d = dtypes.of_scalar(each)
            except TypeError:
                if isinstance(each, str):
                    if each is value:
                        raise TypeError("new(): invalid data type 'str'") from None
                    raise ValueError("too many dimensions 'str'") from None
                raise RuntimeError(f"Could not infer dtype of {type(each).__name__}") from None
        if wide is None or d.kind > kind:
            wide, kind = d, d.kind
    return wide or dtypes.get_default_dtype()


def _plain(value: Any) -> Any:
    """Nested lists with tensors replaced by their numbers; raise ValueError where lengths differ."""
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, list | tuple | range):
        return list(value) if set(map(type, value)) <= _NUMBERS else [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _check_lengths(value: Any, dim: int = 0) -> Shape:
    if not isinstance(value, list):
        return ()
    shapes = []
    for each in value:
        shapes.append(_check_lengths(each, dim + 1))
        if shapes[-1] != shapes[0]:
            n = len(value[0]) if isinstance(value[0], list) else 0
            if isinstance(each, list) and isinstance(value[0], list):
                raise ValueError(f"expected sequence of length {n} at dim {dim + 1} (got {len(each)})")
            raise TypeError("not a sequence")
    return (len(value), *(shapes[0] if shapes else ()))


@function
def tensor(
    data: Any,
    *,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Make a tensor of a copy of the data."""
    check_device(device)
    if isinstance(data, Tensor):
        d = dtype or data.dtype
        return finish(data._array.astype(d.storage), d, requires_grad)
    if isinstance(data, np.ndarray):
        d = dtype or dtypes.from_numpy_dtype(data.dtype)
        return finish(np.array(data, d.storage, order="C"), d, requires_grad)
    d = dtype or _kind_of(data)
    values = _plain(data)
    try:
        if d.kind == 1 and _kind_of(data).kind == 2:  # decimals are cut
            array = np.asarray(values, np.float64).astype(d.storage)
        else:
            array = np.asarray(values, d.storage)
    except ValueError:
        _check_lengths(values)
        raise
    except OverflowError:
        if d is not dtypes.int64:
            raise RuntimeError(f"value cannot be converted to type {d.name} without overflow") from None
        raise ValueError("Overflow when unpacking long long") from None
    return finish(array, d, requires_grad)


@function
def as_tensor(data: Any, dtype: DType | None = None, device: Device = None) -> Tensor:
    """Make a tensor that shares memory with the data if it can."""
    check_device(device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray):
        out = from_numpy(data)
        return out if dtype is None else out.to(dtype)
    return tensor(data, dtype=dtype)


@function
def asarray(
    obj: Any,
    *,
    dtype: DType | None = None,
    device: Device = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Make a tensor of anything."""
    out = as_tensor(obj, dtype, device)
    out = out.clone() if copy else out
    return out.requires_grad_() if requires_grad else out


@function
def from_numpy(ndarray: Array) -> Tensor:
    """Make a tensor in the memory of a numpy array."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    d = dtypes.from_numpy_dtype(ndarray.dtype)
    return make(ndarray if d is not dtypes.float16 else ndarray.astype(np.float32), d)


@function
def frombuffer(
    buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """Make a tensor in the memory of a buffer."""
    return finish(np.frombuffer(buffer, dtype.storage, count, offset), dtype, requires_grad)


@function
def is_tensor(obj: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor."""
    return isinstance(obj, Tensor)


@function
def is_floating_point(input: Tensor) -> bool:
    """Whether the elements are floating point numbers."""
    return input.dtype.kind == 2


@function
def is_complex(input: Tensor) -> bool:
    """Whether the elements are complex."""
    return input.dtype.kind == 3


@function
def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


@method
def new_tensor(
    self: Tensor, data: Any, *, dtype: DType | None = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """Make a tensor of the data in the type of this one."""
    return tensor(data, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)
