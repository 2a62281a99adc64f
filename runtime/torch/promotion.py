"""The common type of two operands.

Tensors with axes weigh more than those without, and these more than numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.attributes import Size
from torch.dtypes import promote_types
from torch.tensor import Tensor, function, make

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch.types import Array, DType, Operand, Shape

NOTHING = make(
    np.zeros((), np.float32), dtypes.float32
)  # stands where an operand is a number: it gets no gradient


@function
def result_type(tensor1: Operand, tensor2: Operand) -> DType:
    """Type that an operation on the two computes in."""
    by_weight: dict[int, DType] = {}
    for each in (tensor1, tensor2):
        if isinstance(each, Tensor):
            weight, d = 2 if each._array.ndim else 1, each.dtype
        else:
            weight, d = 0, dtypes.of_scalar(each)
        by_weight[weight] = promote_types(by_weight[weight], d) if weight in by_weight else d
    heaviest, *lighter = sorted(by_weight, reverse=True)
    found = by_weight[heaviest]
    for weight in lighter:
        if by_weight[weight].kind > found.kind:  # a weaker operand counts only by its kind
            found = promote_types(found, by_weight[weight])
    return found


def cast(array: Array, dtype: DType) -> Array:
    """The array in the storage of a type."""
    return array if array.dtype == dtype.storage else array.astype(dtype.storage)


def check_broadcast(a: Shape, b: Shape) -> None:
    """Raise RuntimeError unless two shapes broadcast."""
    for back in range(1, min(len(a), len(b)) + 1):
        if a[-back] != b[-back] and 1 not in (a[-back], b[-back]):
            raise RuntimeError(
                f"The size of tensor a ({a[-back]}) must match the size of tensor b ({b[-back]}) at "
                f"non-singleton dimension {max(len(a), len(b)) - back}"
            )


@function
def broadcast_shapes(*shapes: int | Sequence[int]) -> Size:
    """Shape that tensors of these shapes broadcast to."""
    return Size(np.broadcast_shapes(*(s if isinstance(s, tuple | list) else (s,) for s in shapes)))


@function
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Expand tensors to one shape."""
    shape = broadcast_shapes(*(t.shape for t in tensors))
    return tuple(t.expand(shape) for t in tensors)


def pair(a: Any, b: Any) -> tuple[Any, Any, DType, Tensor, Tensor]:
    """Arrays of two operands in their common type, the type, and the tensors that gradients go to."""
    a_is_tensor, b_is_tensor = isinstance(a, Tensor), isinstance(b, Tensor)
    if a_is_tensor and b_is_tensor:
        dtype = a.dtype
        if a._array.shape != b._array.shape:
            check_broadcast(a._array.shape, b._array.shape)
        if dtype is b.dtype:
            return a._array, b._array, dtype, a, b
        dtype = result_type(a, b)
        return cast(a._array, dtype), cast(b._array, dtype), dtype, a, b
    if a_is_tensor:
        array, number, dtype = _with_number(a, b)
        return array, number, dtype, a, NOTHING
    array, number, dtype = _with_number(b, a)
    return number, array, dtype, NOTHING, b


_KINDS = {bool: 0, int: 1, float: 2, complex: 3}


def _with_number(tensor: Tensor, number: Any) -> tuple[Array, Any, DType]:
    dtype = tensor.dtype
    if _KINDS.get(type(number), 4) <= dtype.kind != 1:  # the common case: numpy gives the number its type
        return tensor._array, number, dtype
    if isinstance(number, np.generic):
        number = number.item()
    kind = dtypes.of_scalar(number).kind
    if kind > dtype.kind:
        dtype = (
            dtypes.of_scalar(number)
            if kind < 3
            else dtype.to_complex()
            if dtype.kind == 2
            else dtypes.complex64
        )
    elif dtype.kind == 1 and dtype is not dtypes.int64:
        number = np.asarray(number).astype(dtype.storage)  # out of range it wraps, as in torch
    return cast(tensor._array, dtype), number, dtype
