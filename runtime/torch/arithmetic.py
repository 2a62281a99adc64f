"""Sums, products, quotients and powers, element by element, with numpy's broadcasting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record
from torch.promotion import NOTHING, pair
from torch.shared_vjps import conjugated, crossed, negated, same, zeroed
from torch.tensor import Tensor, function, method

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from torch.types import Compute, DType, Number, Operand


@method
@function
def add(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """Sum."""
    if alpha != 1:
        other = other * alpha
    x, y, dtype, a, b = pair(input, other)
    return record("AddBackward0", x | y if dtype.kind == 0 else x + y, dtype, (a, b), (same, same))


@method
@function
def sub(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """Difference."""
    if alpha != 1:
        other = other * alpha
    x, y, dtype, a, b = pair(input, other)
    if dtype.kind == 0:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    title = "SubBackward0" if a is not NOTHING else "RsubBackward1"
    return record(title, x - y, dtype, (a, b), (same, negated))


@function
def rsub(input: Operand, other: Operand) -> Tensor:
    """`other - input`."""
    return sub(other, input)


@method
@function
def mul(input: Operand, other: Operand) -> Tensor:
    """Product."""
    x, y, dtype, a, b = pair(input, other)
    vjps = (lambda g: g * conjugated(other), lambda g: g * conjugated(input))
    return record("MulBackward0", x * y, dtype, (a, b), vjps, crossed(a, b))


@method
@function
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """Quotient; of integers too it is a floating point number, unless a rounding mode is given."""
    x, y, dtype, a, b = pair(input, other)
    if rounding_mode is not None:
        return _rounded_quotient(x, y, dtype, (a, b), rounding_mode)
    if dtype.kind < 2:
        dtype = dtypes.get_default_dtype()
        x, y = (each.astype(dtype.storage) if isinstance(each, np.ndarray) else each for each in (x, y))
    if y is other and dtype.kind == 2:  # numpy gives a Python number its type; by zero Python would raise
        y = np.asarray(y, dtype.storage)
    vjps = (lambda g: g / conjugated(other), lambda g: -g * conjugated((input / other) / other))
    saved = (b, a) if b._wants_grad else (b,)
    return record("DivBackward0", x / y, dtype, (a, b), vjps, saved)


def _rounded_quotient(
    x: Any, y: Any, dtype: DType, inputs: tuple[Tensor, Tensor], rounding_mode: str
) -> Tensor:
    if rounding_mode not in ("floor", "trunc"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    if dtype.kind == 1 and not np.all(y):
        raise RuntimeError("ZeroDivisionError")
    if rounding_mode == "floor":
        found = np.floor_divide(x, y)
    elif dtype.kind == 1:
        found = np.floor_divide(x, y) + ((np.remainder(x, y) != 0) & ((x < 0) != (y < 0)))
    else:
        found = np.trunc(np.true_divide(x, y))
    title = "DivBackward3" if inputs[1] is NOTHING else "DivBackward2"
    return record(title, found.astype(dtype.storage), dtype, inputs, (zeroed, zeroed))


@method
@function
def floor_divide(input: Operand, other: Operand) -> Tensor:
    """Quotient rounded down."""
    out = div(input, other, rounding_mode="floor")
    return _without_derivative(out, "floor_divide")


def _without_derivative(out: Tensor, name: str) -> Tensor:
    def refuse(_: Tensor) -> NoReturn:
        raise RuntimeError(f"derivative for aten::{name} is not implemented")

    if out._node is not None:
        out._node.title, out._node.vjps = "NotImplemented", refuse
    return out


@method
@function
def remainder(input: Operand, other: Operand) -> Tensor:
    """What is left after division; it has the sign of the divisor."""
    x, y, dtype, a, b = pair(input, other)
    if dtype.kind == 1 and not np.all(y):
        raise RuntimeError("ZeroDivisionError")
    vjps = (same, lambda g: -g * div(input, other, rounding_mode="floor"))
    title = "RemainderBackward0" if b is NOTHING else "RemainderBackward1"
    out = record(title, np.remainder(x, y), dtype, (a, b), vjps, (a, b))
    return out if a is not NOTHING else _without_derivative(out, "remainder")


@method
@function
def fmod(input: Operand, other: Operand) -> Tensor:
    """What is left after division; it has the sign of the dividend."""
    x, y, dtype, a, b = pair(input, other)
    if dtype.kind == 1 and not np.all(y):
        raise RuntimeError("ZeroDivisionError")
    vjps = (same, lambda g: -g * div(input, other, rounding_mode="trunc"))
    title = "FmodBackward0" if b is NOTHING else "FmodBackward1"
    return record(title, np.fmod(x, y), dtype, (a, b), vjps, (a, b))


_POWERS: dict[Number, Compute] = {  # computed like this in torch as well
    2: lambda x: x * x,
    3: lambda x: x * x * x,
    0.5: np.sqrt,
    -0.5: lambda x: 1 / np.sqrt(x),
    -1: lambda x: 1 / x,
    -2: lambda x: 1 / (x * x),
}


@method
@function
def pow(input: Operand, exponent: Operand) -> Tensor:
    """Power."""
    x, y, dtype, a, b = pair(input, exponent)
    if not isinstance(exponent, Tensor):
        if dtype.kind == 1 and exponent < 0:  # type: ignore[operator]  # complex it would be of another kind
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        by_hand = _POWERS.get(exponent) if dtype.kind >= 2 else None
        found = by_hand(x) if by_hand else np.power(x, y)

        def vjp(g: Tensor) -> Tensor:
            return g * 0 if exponent == 0 else g * conjugated(exponent * input ** (exponent - 1))

        return record("PowBackward0", found, dtype, (a,), (vjp,), (a,))

    def base(g: Tensor) -> Tensor:
        return g * (exponent * input ** (exponent - 1)).masked_fill(exponent == 0, 0)

    def power(g: Tensor, y: Tensor) -> Tensor:
        if isinstance(input, Tensor):
            return g * (y * input.log()).masked_fill((input == 0) & (exponent >= 0), 0)
        number: Any = input  # of which mypy knows no order, as it may be complex
        if number == 0:
            return g * (y * -math.inf).masked_fill(exponent >= 0, 0)
        return g * (y * (math.log(number) if number > 0 else math.nan))

    return record(
        "PowBackward1" if a is not NOTHING else "PowBackward2",
        np.power(x, y).astype(dtype.storage),
        dtype,
        (a, b),
        (lambda g, y: base(g), power),
        (a, b),
        keeps_output=True,
    )
