"""Tensors from numbers, lists and arrays, and of zeros, ones and ranges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.attributes import check_device
from torch.autograd.record import record
from torch.tensor import Tensor, function, make, method
from torch.views import sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeGuard

    from torch.types import Array, Compute, Device, DType, Layout, Operand, Shape, Sizes

_NUMBERS = {bool, int, float, complex}


def _finish(array: Array, dtype: DType, requires_grad: bool) -> Tensor:
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
        return _finish(data._array.astype(d.storage), d, requires_grad)
    if isinstance(data, np.ndarray):
        d = dtype or dtypes.from_numpy_dtype(data.dtype)
        return _finish(np.array(data, d.storage, order="C"), d, requires_grad)
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
    return _finish(array, d, requires_grad)


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
    return _finish(np.frombuffer(buffer, dtype.storage, count, offset), dtype, requires_grad)


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


# ---------------------------------------------------------------------- one value


def _shape_of(size: Sizes, kwargs: dict[str, Any], name: str) -> Shape:
    if "size" in kwargs:
        size = (kwargs.pop("size"),)
    shape = sizes_of(size)
    for n in shape:
        if n < 0:
            raise RuntimeError(f"{name}: Dimension size must be non-negative.")
    return shape


def _filled(name: str, fill: Compute) -> Callable[..., Tensor]:
    def operation(
        *size: Any,
        dtype: DType | None = None,
        device: Device = None,
        requires_grad: bool = False,
        layout: Layout | None = None,
        pin_memory: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        shape = _shape_of(size, kwargs, name)
        if kwargs:
            raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
        check_device(device)
        d = dtype or dtypes.get_default_dtype()
        return _finish(fill(shape, d.storage), d, requires_grad)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = f"A tensor of {name if name != 'empty' else 'zeros: torch promises nothing here'}."
    return function(operation)


zeros = _filled("zeros", np.zeros)
ones = _filled("ones", np.ones)
empty = _filled("empty", np.zeros)


@function
def full(
    size: Any,
    fill_value: Operand,
    *,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
    layout: Layout | None = None,
) -> Tensor:
    """A tensor of one value."""
    check_device(device)
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    d = dtype or dtypes.of_scalar(fill_value)
    return _finish(np.full(sizes_of((size,)), fill_value, d.storage), d, requires_grad)


def _like(name: str, fill: Compute) -> Callable[..., Tensor]:
    def operation(
        input: Tensor,
        *,
        dtype: DType | None = None,
        device: Device = None,
        requires_grad: bool = False,
        layout: Layout | None = None,
        memory_format: object = None,
    ) -> Tensor:
        check_device(device)
        d = dtype or input.dtype
        return _finish(fill(input._array, d.storage), d, requires_grad)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = f"A tensor of {name.removesuffix('_like')}, in the shape of another."
    return function(operation)


def _laid_out(fill: Compute) -> Compute:
    def like(array: Array, storage: np.dtype[Any]) -> Array:
        # numpy keeps the order of axes of the original, and a broadcast one becomes dense
        return fill(array, dtype=storage)

    return like


zeros_like = _like("zeros_like", _laid_out(np.zeros_like))
ones_like = _like("ones_like", _laid_out(np.ones_like))
empty_like = _like("empty_like", _laid_out(np.zeros_like))


@function
def full_like(
    input: Tensor,
    fill_value: Operand,
    *,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
    layout: Layout | None = None,
    memory_format: object = None,
) -> Tensor:
    """A tensor of one value, in the shape of another."""
    check_device(device)
    d = dtype or input.dtype
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    return _finish(np.full(input._array.shape, value, d.storage), d, requires_grad)


@method
def new_tensor(
    self: Tensor, data: Any, *, dtype: DType | None = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """Make a tensor of the data in the type of this one."""
    return tensor(data, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


def _new(name: str, make_it: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def operation(
        self: Tensor,
        *size: Any,
        dtype: DType | None = None,
        device: Device = None,
        requires_grad: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        return make_it(*size, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad, **kwargs)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = f"`{name.removeprefix('new_')}` in the type of this tensor."
    return method(operation)


_new("new_zeros", zeros)
_new("new_ones", ones)
_new("new_empty", empty)


@method
def new_full(
    self: Tensor,
    size: Any,
    fill_value: Operand,
    *,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of one value in the type of this one."""
    return full(size, fill_value, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


@function
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """The identity matrix."""
    d = dtype or dtypes.get_default_dtype()
    return _finish(np.eye(n, m, dtype=d.storage), d, requires_grad)


@function
def complex(real: Tensor, imag: Tensor) -> Tensor:
    """Complex numbers of two real parts."""
    d = real.dtype.to_complex()
    array = (real._array + 1j * imag._array).astype(d.storage)
    return record("ComplexBackward0", array, d, (real, imag), (lambda g: g.real, lambda g: g.imag))


# ---------------------------------------------------------------------- ranges


def _number(value: Operand) -> Any:
    return value.item() if isinstance(value, Tensor) else value


@function
def arange(
    start: Operand,
    end: Operand | None = None,
    step: Operand = 1,
    *,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from start to before end."""
    check_device(device)
    low, high = (0, _number(start)) if end is None else (_number(start), _number(end))
    by = _number(step)
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if (high - low) * by < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = not any(isinstance(each, float) for each in (low, high, by))
    d = dtype or (dtypes.int64 if whole else dtypes.get_default_dtype())
    n = math.ceil((high - low) / by)
    if d.kind == 2 and not whole:
        array = (low + np.arange(n, dtype=np.float64) * by).astype(d.storage)
    else:
        array = (low + np.arange(n, dtype=np.int64) * by).astype(d.storage)
    return _finish(array, d, requires_grad)


@function
def linspace(
    start: Operand,
    end: Operand,
    steps: int,
    *,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Evenly spaced numbers, both ends included."""
    d = dtype or dtypes.get_default_dtype()
    low, high = _number(start), _number(end)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if steps == 1:
        return _finish(np.full(1, low, d.storage), d, requires_grad)
    # from both ends inwards, so that the end is exact
    kind = d.storage.type if d.kind == 2 else np.float64
    first, last = kind(low), kind(high)
    step = (last - first) / kind(max(steps - 1, 1))
    i = np.arange(steps)
    array = np.where(
        i < steps // 2, first + step * i.astype(kind), last - step * (steps - 1 - i).astype(kind)
    )
    return _finish(array.astype(d.storage), d, requires_grad)


@function
def logspace(
    start: Operand, end: Operand, steps: int, base: float = 10.0, *, dtype: DType | None = None
) -> Tensor:
    """Powers of evenly spaced exponents."""
    d = dtype or dtypes.get_default_dtype()
    return make(np.power(base, np.linspace(_number(start), _number(end), steps)).astype(d.storage), d)
