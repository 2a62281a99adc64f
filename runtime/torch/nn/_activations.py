"""Activations as one operation each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch import kernels
from torch.array_exp import array_exp
from torch.kernels import FLOAT32
from torch.nn.fused import fused
from torch.special import erf_array
from torch.tensor import make, packed
from torch.unary import sigmoid_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.tensor import Tensor
    from torch.types import Array

kernel, kernel_backward = kernels.find("gelu"), kernels.find("gelu_backward")


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``x Phi(x)`` with the normal distribution's share Phi below x, exact or with tanh."""
    if approximate == "tanh":
        return _gelu_tanh(input)
    if approximate != "none":
        raise RuntimeError("approximate argument must be either none or tanh.")
    x = input._array
    way_back = None  # the kernel for it, if a kernel has made the way out
    if kernel is not None and x.dtype is FLOAT32:
        share, out = np.empty(x.shape, FLOAT32), np.empty(x.shape, FLOAT32)
        way_back = kernel_backward if kernel(id(x), id(share), id(out)) else None
    if way_back is None:
        share = erf_array(x * (1 / math.sqrt(2)))
        share += 1
        share *= 0.5
        out = x * share

    def composite(x: Tensor) -> Tensor:
        return x * 0.5 * (1 + (x * (1 / math.sqrt(2))).erf())

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array]:
        if way_back is not None:
            g, grad = packed(g), np.empty(x.shape, FLOAT32)
            way_back(id(x), id(share), id(g), id(grad))
            return (grad,)
        return (g * (share + x * array_exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))),)

    return fused("GeluBackward0", out, [input], backward, composite)


_SLOPE, _CUBIC = math.sqrt(2 / math.pi), 0.044715


def _gelu_tanh(input: Tensor) -> Tensor:
    x = input._array
    square = x * x
    u = x * (_SLOPE + _SLOPE * _CUBIC * square)
    t = 1 - 2 / (array_exp(2 * u) + 1)  # tanh u: numpy's own is three times as slow

    def composite(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + (_SLOPE * (x + _CUBIC * x * x * x)).tanh())

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array]:
        inner = 0.5 * x * (1 - t * t) * (_SLOPE + 3 * _SLOPE * _CUBIC * square)
        return (g * (0.5 * (1 + t) + inner),)

    return fused("GeluBackward0", 0.5 * x * (1 + t), [input], backward, composite)


def silu(input: Tensor) -> Tensor:
    """``x sigmoid(x)``."""
    x = input._array
    s = sigmoid_array(x)

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array]:
        return (g * (s * (1 + x * (1 - s))),)

    return fused("SiluBackward0", x * s, [input], backward, lambda x: x * x.sigmoid())


def logsigmoid(input: Tensor) -> Tensor:
    """``log sigmoid(x)``, exact where sigmoid itself would round to 0."""
    x = packed(input._array)
    out = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array]:
        return (g * sigmoid_array(-x),)

    def composite(x: Tensor) -> Tensor:
        return x.clamp(max=0) - (-x.abs()).exp().log1p()

    return fused("LogSigmoidBackward0", out, [input], backward, composite)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta x)) / beta``; x itself where ``beta x`` is above the threshold."""
    x = input._array
    scaled = x * beta
    is_linear = scaled > threshold
    out = np.where(is_linear, x, (np.maximum(scaled, 0) + np.log1p(np.exp(-np.abs(scaled)))) / beta)

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array]:
        return (np.where(is_linear, g, g * sigmoid_array(scaled)),)

    def composite(x: Tensor) -> Tensor:
        scaled = x * beta
        return (scaled.clamp(min=0) + (-scaled.abs()).exp().log1p()) / beta

    return fused("SoftplusBackward0", out.astype(x.dtype), [input], backward, composite)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """``x`` above 0, ``negative_slope x`` below."""
    x = input._array
    factor = np.where(x > 0, x.dtype.type(1), x.dtype.type(negative_slope))

    def composite(x: Tensor) -> Tensor:
        return x * make(factor, x.dtype)

    return fused("LeakyReluBackward0", x * factor, [input], lambda g, wanted: (g * factor,), composite)


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` above 0, ``alpha (exp(x) - 1)`` below."""
    x = input._array
    below = alpha * np.expm1(np.minimum(x, 0))
    is_above = x > 0

    def composite(x: Tensor) -> Tensor:
        return x.where(x > 0, alpha * x.clamp(max=0).expm1())

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array]:
        return (np.where(is_above, g, g * (below + alpha)),)

    return fused("EluBackward0", np.where(is_above, x, below), [input], backward, composite)
