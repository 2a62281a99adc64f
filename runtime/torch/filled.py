"""Tensors of zeros, ones and other constants, and the identity matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.attributes import check_device
from torch.creation import finish
from torch.tensor import Tensor, function, method
from torch.views import sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch.types import Array, Compute, Device, DType, Layout, Operand, Shape, Sizes


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
        return finish(fill(shape, d.storage), d, requires_grad)

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
    return finish(np.full(sizes_of((size,)), fill_value, d.storage), d, requires_grad)


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
        return finish(fill(input._array, d.storage), d, requires_grad)

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
    return finish(np.full(input._array.shape, value, d.storage), d, requires_grad)


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
    return finish(np.eye(n, m, dtype=d.storage), d, requires_grad)
