"""Casts to other element types, and filling a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.attributes import check_device
from torch.autograd.record import record, write
from torch.operators import in_place
from torch.tensor import Tensor, method

if TYPE_CHECKING:
    from typing import Any

    from torch.types import Device, DType, Operand


def _converted(input: Tensor, dtype: DType, copy: bool = False) -> Tensor:
    if dtype is input.dtype:
        return input.clone() if copy else input
    array = input._array
    if array.dtype.kind == "c" and dtype.kind < 3:
        array = array.real
    back = input.dtype
    return record(
        "ToCopyBackward0",
        array.astype(dtype.storage),
        dtype,
        (input,) if dtype.kind > 1 else (),
        (lambda g: _converted(g, back),),
    )


@method
def to(
    self: Tensor,
    *args: Any,
    dtype: DType | None = None,
    device: Device = None,
    copy: bool = False,
    non_blocking: bool = False,
    memory_format: object = None,
) -> Tensor:
    """Return the tensor in another type; the only device is the CPU."""
    for arg in args:
        if isinstance(arg, dtypes.dtype):
            dtype = arg
        elif isinstance(arg, Tensor):
            dtype = arg.dtype
        elif isinstance(arg, bool):
            pass
        elif arg is not None:
            device = arg
    check_device(device)
    return _converted(self, dtype or self.dtype, copy)


def _named(name: str, dtype: DType) -> None:
    def convert(self: Tensor, memory_format: object = None) -> Tensor:
        return _converted(self, dtype)

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"Return the elements as {dtype!r}."
    method(convert)


for _name, _dtype in {
    "bool": dtypes.bool_, "byte": dtypes.uint8, "char": dtypes.int8, "short": dtypes.int16,
    "int": dtypes.int32, "long": dtypes.int64, "half": dtypes.float16, "bfloat16": dtypes.bfloat16,
    "float": dtypes.float32, "double": dtypes.float64, "cfloat": dtypes.complex64,
    "cdouble": dtypes.complex128,
}.items():  # fmt: skip
    _named(_name, _dtype)


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """Return the elements in the type of another tensor."""
    return _converted(self, other.dtype)


@method
def type(self: Tensor, dtype: DType | None = None) -> str | Tensor:
    """Return the elements in another type, or the name of this one."""
    return f"torch.{self.dtype.title}Tensor" if dtype is None else _converted(self, dtype)


@method
def cpu(self: Tensor) -> Tensor:
    """Return the tensor, which is on the CPU."""
    return self


@method
def cuda(self: Tensor, device: Device = None) -> None:
    """Refuse: there is no GPU."""
    check_device("cuda")


@method
def pin_memory(self: Tensor) -> Tensor:
    """Return the tensor: there is no GPU to copy to."""
    return self


@method
def fill_(self: Tensor, value: Operand) -> Tensor:
    """Write one value everywhere."""
    if isinstance(value, Tensor):
        value = value.item()
    array = np.full(self._array.shape, value).astype(self._array.dtype)
    return write(self, record("FillBackward2", array, self.dtype, (self,), (lambda g: g * 0,)))


@method
def zero_(self: Tensor) -> Tensor:
    """Write zeros everywhere."""
    return write(
        self, record("ZeroBackward0", np.zeros_like(self._array), self.dtype, (self,), (lambda g: g * 0,))
    )


for _name in (
    "masked_fill", "masked_scatter", "scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy",
    "index_fill", "tril", "triu", "cumsum", "cumprod", "addmm", "baddbmm", "addmv", "erf", "erfinv",
):  # fmt: skip
    in_place(getattr(Tensor, _name), _name)


@method
def set_(self: Tensor, source: Tensor) -> Tensor:
    """Look at the memory of another tensor."""
    self._array, self.dtype = source._array, source.dtype
    return self


@method
def share_memory_(self: Tensor) -> Tensor:
    """Return the tensor: there is one process."""
    return self


@method
def resolve_conj(self: Tensor) -> Tensor:
    """Return the tensor: conjugates are made at once."""
    return self


@method
def resolve_neg(self: Tensor) -> Tensor:
    """Return the tensor: negatives are made at once."""
    return self
