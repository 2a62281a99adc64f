"""The error function and its relatives, which numpy lacks."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from torch.autograd.record import record, retitled
from torch.masking import where
from torch.refusal import refusal
from torch.softmaxes import log_softmax, logsumexp, softmax
from torch.tensor import alias, function, method
from torch.unary import exp2, expm1, floating, log1p

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from torch.tensor import Tensor
    from torch.types import Array

__all__ = [
    "entr", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "log1p", "log_softmax", "logit",
    "logsumexp", "ndtr", "ndtri", "softmax", "xlogy",
]  # fmt: skip

_NORMAL = NormalDist()
_EACH: dict[Callable[[float], float], Callable[[Array], Array]] = {}


def _each(compute: Callable[[float], float], array: Array) -> Array:
    """Apply a function of Python numbers to each element, in float64."""
    if compute not in _EACH:
        _EACH[compute] = np.frompyfunc(compute, 1, 1)
    return np.asarray(_EACH[compute](array.astype(np.float64)), np.float64).astype(array.dtype)


def erf_array(x: Array) -> Array:
    """The error function of an array: in float32 by a ratio of polynomials, in float64 by Python's own.

    The coefficients are those that XLA and Eigen use; the error is below 4e-7.
    """
    if x.dtype != np.float32:
        return _each(math.erf, x)
    z = np.clip(x, -4, 4)
    s = z * z
    p = np.full_like(s, -2.72614225801306e-10)  # then in place, which takes half the time
    for c in (
        2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04,
        -2.95459980854025e-03, -1.60960333262415e-02,
    ):  # fmt: skip
        p *= s
        p += np.float32(c)
    q = np.full_like(s, -1.45660718464996e-05)
    for c in (-2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02):
        q *= s
        q += np.float32(c)
    p /= q
    p *= z
    return p


_SLOPE = 2 / math.sqrt(math.pi)


@method
@function
def erf(input: Tensor) -> Tensor:
    """Error function."""
    x, d = floating(input)
    return record(
        "ErfBackward0", erf_array(x), d, (input,), (lambda g: g * (-input * input).exp() * _SLOPE,), (input,)
    )


@method
@function
def erfc(input: Tensor) -> Tensor:
    """1 - erf, precise where erf is close to 1."""
    x, d = floating(input)
    vjp = lambda g: g * (-input * input).exp() * -_SLOPE  # noqa: E731
    return record("ErfcBackward0", _each(math.erfc, x), d, (input,), (vjp,), (input,))


def _ndtri(p: float) -> float:
    if not 0 < p < 1:
        return -math.inf if p == 0 else math.inf if p == 1 else math.nan
    return _NORMAL.inv_cdf(p)


def _erfinv(y: float) -> float:
    if not -1 < y < 1:
        return math.copysign(math.inf, y) if abs(y) == 1 else math.nan
    x = _NORMAL.inv_cdf((y + 1) / 2) / math.sqrt(2) if abs(y) > 1e-3 else y / _SLOPE
    for _ in range(2):  # Newton's method mends what (y + 1) rounds away
        x -= (math.erf(x) - y) / (_SLOPE * math.exp(-x * x))
    return x


@method
@function
def erfinv(input: Tensor) -> Tensor:
    """Inverse of the error function."""
    x, d = floating(input)
    return record(
        "ErfinvBackward0",
        _each(_erfinv, x),
        d,
        (input,),
        (lambda g, y: g * (y * y).exp() / _SLOPE,),
        keeps_output=True,
    )


def ndtr(input: Tensor) -> Tensor:
    """Probability that a standard normal number is at most this."""
    return 0.5 * (1 + erf(input / math.sqrt(2)))


def ndtri(input: Tensor) -> Tensor:
    """Standard normal quantile, the inverse of `ndtr`."""
    x, d = floating(input)
    vjp = lambda g, y: g * (y * y / 2).exp() * math.sqrt(2 * math.pi)  # noqa: E731
    return record("SpecialNdtriBackward0", _each(_ndtri, x), d, (input,), (vjp,), keeps_output=True)


def entr(input: Tensor) -> Tensor:
    """`-x log x`, and 0 at 0."""
    x, d = floating(input)
    found = np.where(x > 0, -x * np.log(np.where(x > 0, x, 1)), np.where(x == 0, 0, -np.inf)).astype(x.dtype)
    found = np.where(np.isnan(x), x, found)
    vjp = lambda g: g * -(input.log() + 1)  # noqa: E731
    return record("SpecialEntrBackward0", found, d, (input,), (vjp,), (input,))


def xlogy(input: Tensor, other: Tensor) -> Tensor:
    """`input * log(other)`, and 0 where the input is 0."""
    zero = (input == 0) & ~other.isnan()
    return retitled(where(zero, 0, input * where(zero, 1, other).log()), "XlogyBackward0")


def expit(input: Tensor) -> Tensor:
    """Logistic function."""
    return input.sigmoid()


@method
@function
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """Logarithm of the odds."""
    x = input if eps is None else input.clamp(eps, 1 - eps)
    p, d = floating(x)
    inside = (x >= 0) & (x <= 1)

    def vjp(g: Tensor) -> Tensor:
        return (g / (x * (1 - x))).masked_fill(~inside, math.nan)

    return record("LogitBackward0", np.log(p / (1 - p)), d, (x,), (vjp,), (x,))


alias("xlogy", xlogy)


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.special", name)
