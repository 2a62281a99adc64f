"""Comparison, logic and bits, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.promotion import pair
from torch.tensor import function, make, method

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.tensor import Tensor
    from torch.types import Compute, Operand


def _comparison(name: str, compute: Compute, doc: str) -> Callable[[Operand, Operand], Tensor]:
    def operation(input: Operand, other: Operand) -> Tensor:
        x, y, _, _, _ = pair(input, other)
        return make(compute(x, y), dtypes.bool_)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = doc
    return method(function(operation))


eq = _comparison("eq", np.equal, "Whether equal.")
ne = _comparison("ne", np.not_equal, "Whether different.")
lt = _comparison("lt", np.less, "Whether smaller.")
le = _comparison("le", np.less_equal, "Whether smaller or equal.")
gt = _comparison("gt", np.greater, "Whether larger.")
ge = _comparison("ge", np.greater_equal, "Whether larger or equal.")
logical_and = _comparison("logical_and", np.logical_and, "Whether both are not zero.")
logical_or = _comparison("logical_or", np.logical_or, "Whether one is not zero.")
logical_xor = _comparison("logical_xor", np.logical_xor, "Whether exactly one is not zero.")


@method
@function
def logical_not(input: Tensor) -> Tensor:
    """Whether zero."""
    return make(np.logical_not(input._array), dtypes.bool_)


def _bitwise(name: str, compute: Compute, doc: str) -> Callable[[Operand, Operand], Tensor]:
    def operation(input: Operand, other: Operand) -> Tensor:
        x, y, dtype, _, _ = pair(input, other)
        if dtype.kind > 1:
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{dtype.title}'")
        return make(compute(x, y).astype(dtype.storage), dtype)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = doc
    return method(function(operation))


bitwise_and = _bitwise("bitwise_and", np.bitwise_and, "And, bit by bit.")
bitwise_or = _bitwise("bitwise_or", np.bitwise_or, "Or, bit by bit.")
bitwise_xor = _bitwise("bitwise_xor", np.bitwise_xor, "Exclusive or, bit by bit.")
bitwise_left_shift = _bitwise("bitwise_left_shift", np.left_shift, "Shift bits up.")
bitwise_right_shift = _bitwise("bitwise_right_shift", np.right_shift, "Shift bits down.")


@method
@function
def bitwise_not(input: Tensor) -> Tensor:
    """Not, bit by bit."""
    if input.dtype.kind > 1:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return make(np.invert(input._array), input.dtype)


def _question(name: str, compute: Compute, doc: str) -> Callable[[Tensor], Tensor]:
    def operation(input: Tensor) -> Tensor:
        return make(compute(input._array), dtypes.bool_)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = doc
    return method(function(operation))


isnan = _question("isnan", np.isnan, "Whether not a number.")
isinf = _question("isinf", np.isinf, "Whether infinite.")
isfinite = _question("isfinite", np.isfinite, "Whether neither infinite nor NaN.")
isposinf = _question("isposinf", np.isposinf, "Whether plus infinity.")
isneginf = _question("isneginf", np.isneginf, "Whether minus infinity.")
signbit = _question("signbit", np.signbit, "Whether the sign is minus, of -0.0 too.")


@method
@function
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether `|input - other| <= atol + rtol * |other|`."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.title} did not match {other.dtype.title}")
    x, y = input._array, other._array
    close = x == y
    if input.dtype.kind > 1:
        close = close | (np.isfinite(y) & (np.abs(x - y) <= atol + np.abs(rtol * y)))
        if equal_nan:
            close = close | (np.isnan(x) & np.isnan(y))
    return make(close, dtypes.bool_)


@method
@function
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._array.all())


@method
@function
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are equal."""
    return input.shape == other.shape and bool((input._array == other._array).all())
