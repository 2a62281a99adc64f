"""Elementwise operations on two or three tensors: clamp, lerp, addcmul, addcdiv, atan2 and logaddexp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record, retitled
from torch.comparison import isfinite
from torch.promotion import cast, check_broadcast, pair
from torch.shared_vjps import crossed, same
from torch.tensor import Tensor, function, make, method

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.types import Compute, Number, Operand, Vjp


@method
@function
def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Limit to a range."""
    if min is None and max is None:
        raise ValueError("At least one of 'min' or 'max' must not be None")
    tensors = isinstance(min, Tensor) or isinstance(max, Tensor)
    if tensors:
        out = (
            input
            if min is None
            else maximum(input, min if isinstance(min, Tensor) else input.new_tensor(min))
        )
        out = out if max is None else minimum(out, max if isinstance(max, Tensor) else out.new_tensor(max))
        return retitled(out, "ClampBackward0")
    array, dtype = input._array, input.dtype
    for bound in (min, max):
        if bound is not None and dtypes.of_scalar(bound).kind > dtype.kind:
            dtype = dtypes.of_scalar(bound)
    array = cast(array, dtype)
    if min is not None:
        array = np.maximum(array, array.dtype.type(min))
    if max is not None:
        array = np.minimum(array, array.dtype.type(max))

    def vjp(g: Tensor) -> Tensor:
        inside = np.ones(input._array.shape, bool)
        if min is not None:
            inside &= input._array >= min
        if max is not None:
            inside &= input._array <= max
        return g * make(inside, dtypes.bool_)

    return record("ClampBackward1", array, dtype, (input,), (vjp,), (input,))


@method
@function
def clip(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Limit to a range."""
    return clamp(input, min, max)


@method
@function
def clamp_min(input: Tensor, min: Operand) -> Tensor:
    """Raise to at least `min`."""
    return retitled(clamp(input, min=min), "ClampMinBackward0")


@method
@function
def clamp_max(input: Tensor, max: Operand) -> Tensor:
    """Lower to at most `max`."""
    return retitled(clamp(input, max=max), "ClampMaxBackward0")


def _extreme(
    name: str, compute: Compute, title: str, wins: Compute, doc: str
) -> Callable[[Tensor, Tensor], Tensor]:
    def operation(input: Tensor, other: Tensor) -> Tensor:
        x, y, dtype, a, b = pair(input, other)

        def share(mine: Tensor, others: Tensor) -> Vjp:
            def vjp(g: Tensor) -> Tensor:
                # a tie is shared
                half = make((mine._array == others._array).astype(g._array.dtype) / 2, g.dtype)
                return g * (make(wins(mine._array, others._array), dtypes.bool_) + half)

            return vjp

        return record(title, compute(x, y), dtype, (a, b), (share(a, b), share(b, a)), (a, b))

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = doc
    return method(function(operation))


maximum = _extreme("maximum", np.maximum, "MaximumBackward0", np.greater, "The larger of two; NaN wins.")
minimum = _extreme("minimum", np.minimum, "MinimumBackward0", np.less, "The smaller of two; NaN wins.")


@method
@function
def lerp(input: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """`input + weight * (end - input)`, from the nearer end."""
    w = weight if isinstance(weight, Tensor) else None
    array, stop = input._array, end._array
    if input.dtype is not end.dtype:
        raise RuntimeError(f"expected dtype {input.dtype.name} for `end` but got dtype {end.dtype.name}")
    share = w._array if w is not None else array.dtype.type(weight)
    check_broadcast(array.shape, stop.shape)
    near = np.abs(share) < 0.5
    difference = stop - array
    found = np.where(near, array + share * difference, stop - difference * (1 - share))
    inputs = (input, end) if w is None else (input, end, w)
    vjps = (lambda g: g * (1 - weight), lambda g: g * weight, lambda g: g * (end - input))[: len(inputs)]
    title = "LerpBackward0" if w is None else "LerpBackward1"
    return record(title, found.astype(array.dtype), input.dtype, inputs, vjps, inputs)


@method
@function
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """`input + value * tensor1 * tensor2`."""
    check_broadcast(tensor1._array.shape, tensor2._array.shape)
    array = input._array + input._array.dtype.type(value) * tensor1._array * tensor2._array
    vjps = (same, lambda g: g * (tensor2 * value), lambda g: g * (tensor1 * value))
    inputs = (input, tensor1, tensor2)
    return record("AddcmulBackward0", array, input.dtype, inputs, vjps, crossed(tensor1, tensor2))


@method
@function
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """`input + value * tensor1 / tensor2`."""
    check_broadcast(tensor1._array.shape, tensor2._array.shape)
    array = input._array + input._array.dtype.type(value) * tensor1._array / tensor2._array
    vjps = (same, lambda g: g * (value / tensor2), lambda g: -g * (value * tensor1 / (tensor2 * tensor2)))
    inputs = (input, tensor1, tensor2)
    return record("AddcdivBackward0", array, input.dtype, inputs, vjps, (tensor1, tensor2))


@method
@function
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """Angle of the point (other, input)."""
    x, y, dtype, a, b = pair(input, other)
    if dtype.kind < 2:
        dtype = dtypes.get_default_dtype()

    def scale(g: Tensor) -> Tensor:
        return g / (input * input + other * other)

    vjps = (lambda g: scale(g) * other, lambda g: scale(g) * -input)
    return record("Atan2Backward0", np.arctan2(x, y).astype(dtype.storage), dtype, (a, b), vjps, (a, b))


@method
@function
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """Logarithm of the sum of the exponentials."""
    x, y, dtype, a, b = pair(input, other)
    vjps = (lambda g: g / (1 + (other - input).exp()), lambda g: g / (1 + (input - other).exp()))
    return record("LogaddexpBackward0", np.logaddexp(x, y), dtype, (a, b), vjps, (a, b))


@method
@function
def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Replace what is not finite."""
    found = np.nan_to_num(input._array, nan=nan, posinf=posinf, neginf=neginf)

    def vjp(g: Tensor) -> Tensor:
        return g * isfinite(input)

    return record("NanToNumBackward0", found, input.dtype, (input,), (vjp,), (input,))
