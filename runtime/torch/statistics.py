"""Variance, correlation and quantiles."""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING

import numpy as np

from torch.autograd.modes import mode, no_grad
from torch.autograd.record import record, retitled
from torch.reductions import axes_of, count_of, kept_shape, mean
from torch.tensor import Tensor, check_dim, function, make, method, packed

if TYPE_CHECKING:
    from torch.types import Compute, Dims


def _correction(dim: Dims, unbiased: bool | None, correction: int | None) -> tuple[Dims, int]:
    """Sort out the two ways of calling var: by `unbiased`, alone or after `dim`, or by `correction`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dim, correction


@method
@function
def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """Mean squared deviation, divided by n - correction."""
    if input.dtype.kind < 2:
        raise RuntimeError("std and var only support floating point and complex dtypes")
    dim, correction = _correction(dim, unbiased, correction)
    array = input._array
    axes = axes_of(dim, array.ndim)
    n = count_of(array.shape, axes)
    centered = array - array.mean(axis=axes, keepdims=True)
    divisor = builtins.max(n - correction, 0)
    found = packed((centered * centered).sum(axis=axes, keepdims=keepdim))
    found = np.divide(found, array.dtype.type(divisor))
    kept = kept_shape(array.shape, axes)

    def vjp(g: Tensor) -> Tensor:
        return g.reshape(kept) * (
            (input - input.mean(axes, keepdim=True)) * (2 / divisor if divisor else math.nan)
        )

    return record("VarBackward0", found, input.dtype, (input,), (vjp,), (input,))


@method
@function
def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """Square root of the variance."""
    if input.dtype.kind < 2:
        raise RuntimeError("std and var only support floating point and complex dtypes")
    dim, correction = _correction(dim, unbiased, correction)
    array = input._array
    axes = axes_of(dim, array.ndim)
    with no_grad():
        squared = var(input, dim, None, keepdim, correction=correction)
    kept = kept_shape(array.shape, axes)
    divisor = count_of(array.shape, axes) - correction

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        g = (g / (y * 2)).masked_fill(y == 0, 0).reshape(kept)
        return g * ((input - input.mean(axes, keepdim=True)) * (2 / divisor if divisor > 0 else math.nan))

    return record(
        "StdBackward0", np.sqrt(squared._array), input.dtype, (input,), (vjp,), (input,), keeps_output=True
    )


@function
def var_mean(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> tuple[Tensor, ...]:
    """Variance and mean."""
    dim, correction = _correction(dim, unbiased, correction)
    both = var(input, dim, None, keepdim, correction=correction), mean(input, dim, keepdim)
    return tuple(retitled(each, "VarMeanBackward0") for each in both)


@function
def std_mean(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> tuple[Tensor, ...]:
    """Standard deviation and mean."""
    dim, correction = _correction(dim, unbiased, correction)
    both = std(input, dim, None, keepdim, correction=correction), mean(input, dim, keepdim)
    return tuple(retitled(each, "StdMeanBackward0") for each in both)


@function
def corrcoef(input: Tensor) -> Tensor:
    """Correlation of the rows of a matrix."""
    if input._array.ndim > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{input._array.ndim} dimensions"
        )
    if input._array.ndim < 2:
        return input.new_ones(()) * (input.var() / input.var())
    c = cov(input)
    d = c.diagonal().sqrt()
    return (c / d.unsqueeze(-1) / d.unsqueeze(0)).clip(-1, 1)


@function
def cov(input: Tensor, *, correction: int = 1) -> Tensor:
    """Covariance of the rows of a matrix."""
    if input._array.ndim < 2:
        return input.var(correction=correction)
    centered = input - input.mean(1, keepdim=True)
    return retitled(centered @ centered.t() / (input.shape[1] - correction), "SqueezeBackward0")


def _quantile(input: Tensor, q: float | Tensor, dim: int | None, keepdim: bool, compute: Compute) -> Tensor:
    values = q._array if isinstance(q, Tensor) else np.asarray(q, input._array.dtype)
    if ((values < 0) | (values > 1)).any():
        found = (
            "values must be in the range [0, 1]"
            if isinstance(q, Tensor)
            else f"must be in the range [0, 1] but got {q:g}"
        )
        raise RuntimeError(f"quantile() q {found}")
    if input.requires_grad and mode.enabled:
        raise NotImplementedError(
            "the gradient of torch.quantile is not in the in-page subset; run with PyTorch"
        )
    axis = None if dim is None else check_dim(dim, input._array.ndim)
    found = compute(input._array.astype(np.float64), values.astype(np.float64), axis=axis, keepdims=keepdim)
    return make(np.asarray(found).astype(input._array.dtype), input.dtype)


@method
@function
def quantile(
    input: Tensor,
    q: float | Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Values below which fractions `q` lie, between neighbors interpolated."""
    _only_linear(interpolation)
    return _quantile(input, q, dim, keepdim, np.quantile)


@method
@function
def nanquantile(
    input: Tensor,
    q: float | Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Quantiles of what is not NaN."""
    _only_linear(interpolation)
    return _quantile(input, q, dim, keepdim, np.nanquantile)


def _only_linear(interpolation: str) -> None:
    if interpolation != "linear":
        raise NotImplementedError(
            f"interpolation={interpolation!r} is not in the in-page subset; run with PyTorch"
        )
