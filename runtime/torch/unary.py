"""Functions of one number, for each element."""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.array_exp import array_exp
from torch.autograd.record import record, retitled
from torch.shared_vjps import conjugated, negated, zeroed
from torch.tensor import function, make, method

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.tensor import Tensor
    from torch.types import Array, Compute, DType, Vjp


def floating(input: Tensor) -> tuple[Array, DType]:
    """Array and type of the input as floating point numbers."""
    if input.dtype.kind >= 2:
        return input._array, input.dtype
    d = dtypes.get_default_dtype()
    return input._array.astype(d.storage), d


def sigmoid_array(x: Array) -> Array:
    """Sigmoid of each number of an array."""
    return 1 / (1 + array_exp(-x))


def _unary(
    name: str, compute: Compute, title: str, vjp: Vjp, uses: str = "x", doc: str = ""
) -> Callable[[Tensor], Tensor]:
    """Offer a function of each element. Its derivative `vjp(g, x, y)` uses its input or its output."""
    if uses == "y":

        def operation(input: Tensor) -> Tensor:
            x, dtype = floating(input)
            return record(title, compute(x), dtype, (input,), (vjp,), keeps_output=True)
    else:

        def operation(input: Tensor) -> Tensor:
            x, dtype = floating(input)
            return record(title, compute(x), dtype, (input,), (lambda g: vjp(g, input),), (input,))

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = doc
    return method(function(operation))


exp = _unary("exp", np.exp, "ExpBackward0", lambda g, y: g * conjugated(y), "y", "Exponential.")
expm1 = _unary("expm1", np.expm1, "Expm1Backward0", lambda g, y: g * (y + 1), "y", "Exponential minus 1.")
exp2 = _unary("exp2", np.exp2, "Exp2Backward0", lambda g, y: g * (y * math.log(2)), "y", "Power of 2.")
sqrt = _unary("sqrt", np.sqrt, "SqrtBackward0", lambda g, y: g / (2 * conjugated(y)), "y", "Square root.")
rsqrt = _unary(
    "rsqrt", lambda x: 1 / np.sqrt(x), "RsqrtBackward0", lambda g, y: -0.5 * g * y**3, "y", "1 over the root."
)
reciprocal = _unary(
    "reciprocal",
    lambda x: 1 / x,
    "ReciprocalBackward0",
    lambda g, y: -g * conjugated(y * y),
    "y",
    "1 over x.",
)
sigmoid = _unary(
    "sigmoid", sigmoid_array, "SigmoidBackward0", lambda g, y: g * (1 - y) * y, "y", "Logistic function."
)
tanh = _unary("tanh", np.tanh, "TanhBackward0", lambda g, y: g * (1 - y * y), "y", "Hyperbolic tangent.")
tan = _unary("tan", np.tan, "TanBackward0", lambda g, y: g * (1 + y * y), "y", "Tangent.")
log = _unary("log", np.log, "LogBackward0", lambda g, x: g / conjugated(x), doc="Natural logarithm.")
log2 = _unary(
    "log2", np.log2, "Log2Backward0", lambda g, x: g / (x * math.log(2)), doc="Logarithm to base 2."
)
log10 = _unary(
    "log10", np.log10, "Log10Backward0", lambda g, x: g / (x * math.log(10)), doc="Logarithm to base 10."
)
log1p = _unary("log1p", np.log1p, "Log1PBackward0", lambda g, x: g / (x + 1), doc="Logarithm of 1 plus it.")
sin = _unary("sin", np.sin, "SinBackward0", lambda g, x: g * x.cos(), doc="Sine.")
cos = _unary("cos", np.cos, "CosBackward0", lambda g, x: g * -x.sin(), doc="Cosine.")
sinh = _unary("sinh", np.sinh, "SinhBackward0", lambda g, x: g * x.cosh(), doc="Hyperbolic sine.")
cosh = _unary("cosh", np.cosh, "CoshBackward0", lambda g, x: g * x.sinh(), doc="Hyperbolic cosine.")
asin = _unary("asin", np.arcsin, "AsinBackward0", lambda g, x: g * (1 - x * x).rsqrt(), doc="Arc sine.")
acos = _unary("acos", np.arccos, "AcosBackward0", lambda g, x: g * -(1 - x * x).rsqrt(), doc="Arc cosine.")
atan = _unary("atan", np.arctan, "AtanBackward0", lambda g, x: g / (x * x + 1), doc="Arc tangent.")
atanh = _unary("atanh", np.arctanh, "AtanhBackward0", lambda g, x: g / (1 - x * x), doc="Inverse of tanh.")


def _keeps_type(name: str, compute: Compute, title: str, vjp: Vjp, doc: str) -> Callable[[Tensor], Tensor]:
    """Offer a function of each element that leaves integers integers."""

    def operation(input: Tensor) -> Tensor:
        array = input._array
        found = (
            array if input.dtype.kind < 2 and name in ("ceil", "floor", "round", "trunc") else compute(array)
        )
        return record(
            title, found.astype(array.dtype), input.dtype, (input,), (lambda g: vjp(g, input),), (input,)
        )

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = doc
    return method(function(operation))


square = _keeps_type(
    "square", lambda x: x * x, "PowBackward0", lambda g, x: g * (2 * conjugated(x)), "Second power."
)
sign = _keeps_type(
    "sign", lambda x: (x > 0).astype(np.int8) - (x < 0), "SignBackward0", lambda g, x: g * 0, "-1, 0 or 1."
)
floor = _keeps_type("floor", np.floor, "FloorBackward0", lambda g, x: g * 0, "Largest integer below.")
ceil = _keeps_type("ceil", np.ceil, "CeilBackward0", lambda g, x: g * 0, "Smallest integer above.")
trunc = _keeps_type("trunc", np.trunc, "TruncBackward0", lambda g, x: g * 0, "Without the decimals.")


@method
@function
def relu(input: Tensor) -> Tensor:
    """The positive part."""
    array = input._array
    vjp = lambda g, y: g * (y > 0)  # noqa: E731
    return record(
        "ReluBackward0",
        np.where(array < 0, array.dtype.type(0), array),
        input.dtype,
        (input,),
        (vjp,),
        keeps_output=True,
    )


@method
@function
def neg(input: Tensor) -> Tensor:
    """Change the sign."""
    if input.dtype.kind == 0:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a "
            "mask, use the `~` or `logical_not()` operator instead."
        )
    return record("NegBackward0", -input._array, input.dtype, (input,), (negated,))


@method
@function
def abs(input: Tensor) -> Tensor:
    """Distance from zero."""
    array = np.abs(input._array)
    return record(
        "AbsBackward0", array, input.dtype.to_real(), (input,), (lambda g: g * input.sgn(),), (input,)
    )


@method
@function
def sgn(input: Tensor) -> Tensor:
    """Sign, of a complex number its direction."""
    if input.dtype.kind < 3:
        return retitled(sign(input), "SgnBackward0")
    size = np.abs(input._array)
    return make(np.where(size == 0, 0, input._array / np.where(size == 0, 1, size)), input.dtype)


@method
@function
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Nearest integer, or multiple of a power of ten; ties go to the even one."""
    array = input._array
    if input.dtype.kind >= 2:
        scale = array.dtype.type(10.0 ** builtins.abs(decimals))
        if decimals > 0:
            array = np.rint(array * scale) / scale
        elif decimals < 0:
            array = np.rint(array / scale) * scale
        else:
            array = np.rint(array)
    return record(
        "RoundBackward0" if not decimals else "RoundBackward1", array, input.dtype, (input,), (zeroed,)
    )
