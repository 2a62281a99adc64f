"""Out of tensors: Python numbers and lists, numpy arrays, addresses, copies and pickles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.tensor import Tensor, method

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, SupportsIndex

    from torch.types import Array, DType, Operand


@method
def item(self: Tensor) -> Any:
    """The only element, as a Python number."""
    array = self._array
    if array.size != 1:
        raise RuntimeError(f"a Tensor with {array.size} elements cannot be converted to Scalar")
    return array.item()


@method
def tolist(self: Tensor) -> Any:
    """Nested lists of Python numbers, or one number."""
    return self._array.tolist()


@method
def numpy(self: Tensor, *, force: bool = False) -> Array:
    """The same memory as a numpy array."""
    if self.requires_grad and not force:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    if self.dtype is dtypes.bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16")
    if self.dtype is dtypes.float16:
        return self._array.astype(np.float16)
    return self._array


@method
def data_ptr(self: Tensor) -> int:
    """Address of the first element."""
    return self._array.__array_interface__["data"][0]


@method
def storage_offset(self: Tensor) -> int:
    """Elements between the start of the memory and the first one."""
    base = self._array
    while isinstance(base.base, np.ndarray):
        base = base.base
    return (self.data_ptr() - base.__array_interface__["data"][0]) // self._array.itemsize


@method
def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Array:
    array = self.numpy()
    return array if dtype is None else array.astype(dtype, copy=False)


@method
def __bool__(self: Tensor) -> bool:
    array = self._array
    if array.size != 1:
        if array.size == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    return bool(array.item())


@method
def __int__(self: Tensor) -> int:
    return int(self.item())


@method
def __float__(self: Tensor) -> float:
    return float(self.item())


@method
def __complex__(self: Tensor) -> complex:
    return complex(self.item())


@method
def __index__(self: Tensor) -> int:
    if self.dtype.kind > 1 or self._array.size != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(self._array.item())


@method
def __len__(self: Tensor) -> int:
    if self._array.ndim == 0:
        raise TypeError("len() of a 0-d tensor")
    return len(self._array)


@method
def __contains__(self: Tensor, element: Operand) -> bool:
    return bool((self == element).any())


@method
def __iter__(self: Tensor) -> Iterator[Tensor]:
    if self._array.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


@method
def __hash__(self: Tensor) -> int:
    return id(self)


@method
def __format__(self: Tensor, spec: str) -> str:
    if self._array.ndim == 0 and type(self) is Tensor:
        return format(self.item(), spec)
    return object.__format__(self, spec)


@method
def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if id(self) in memo:
        return memo[id(self)]
    if self._node is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol "
            "at the moment.  If you were attempting to deepcopy a module, this may be because of a "
            "torch.nn.utils.weight_norm usage, see https://github.com/pytorch/pytorch/pull/103001"
        )
    out = object.__new__(type(self))
    memo[id(self)] = out
    out._array, out.dtype = self._array.copy(), self.dtype
    if self._wants_grad:
        out._wants_grad = True
    if self._grad is not None:
        out._grad = self._grad.__deepcopy__(memo)
    return out


@method
def __reduce_ex__(self: Tensor, protocol: SupportsIndex) -> tuple[Any, ...]:
    return _rebuild, (
        type(self),
        np.ascontiguousarray(self._array).reshape(self._array.shape),
        self.dtype,
        self._wants_grad,
    )


def _rebuild(cls: type[Tensor], array: Array, dtype: DType, requires_grad: bool) -> Tensor:
    out = object.__new__(cls)
    out._array, out.dtype = array, dtype
    if requires_grad:
        out._wants_grad = True
    return out
