"""Activations as one operation each."""

import math

import numpy as np

from torch import kernels
from torch.array_exp import array_exp
from torch.kernels import FLOAT32
from torch.nn.fused import fused
from torch.special import erf_array
from torch.tensor import make, packed
from torch.unary import sigmoid_array

kernel, kernel_backward = kernels.find("gelu"), kernels.find("gelu_backward")


def gelu(input, approximate="none"):
    """``x Phi(x)`` with the normal distribution's share Phi below x, exact or with tanh."""
    if approximate == "tanh":
        return _gelu_tanh(input)
    if approximate != "none":
        raise RuntimeError("approximate argument must be either none or tanh.")
    x = input._array
    by_kernel = False
    if kernel is not None and x.dtype is FLOAT32:
        share, out = np.empty(x.shape, FLOAT32), np.empty(x.shape, FLOAT32)
        by_kernel = kernel(id(x), id(share), id(out))
    if not by_kernel:
        share = erf_array(x * (1 / math.sqrt(2)))
        share += 1
        share *= 0.5
        out = x * share

    def composite(x):
        return x * 0.5 * (1 + (x * (1 / math.sqrt(2))).erf())

    def backward(g, wanted):
        if by_kernel:
            g, grad = packed(g), np.empty(x.shape, FLOAT32)
            kernel_backward(id(x), id(share), id(g), id(grad))
            return (grad,)
        return (g * (share + x * array_exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))),)

    return fused("GeluBackward0", out, [input], backward, composite)


_SLOPE, _CUBIC = math.sqrt(2 / math.pi), 0.044715


def _gelu_tanh(input):
    x = input._array
    square = x * x
    u = x * (_SLOPE + _SLOPE * _CUBIC * square)
    t = 1 - 2 / (array_exp(2 * u) + 1)  # tanh u: numpy's own is three times as slow

    def composite(x):
        return 0.5 * x * (1 + (_SLOPE * (x + _CUBIC * x * x * x)).tanh())

    def backward(g, wanted):
        inner = 0.5 * x * (1 - t * t) * (_SLOPE + 3 * _SLOPE * _CUBIC * square)
        return (g * (0.5 * (1 + t) + inner),)

    return fused("GeluBackward0", 0.5 * x * (1 + t), [input], backward, composite)


def silu(input, inplace=False):
    """``x sigmoid(x)``."""
    x = input._array
    s = sigmoid_array(x)

    def backward(g, wanted):
        return (g * (s * (1 + x * (1 - s))),)

    return fused("SiluBackward0", x * s, [input], backward, lambda x: x * x.sigmoid())


def logsigmoid(input):
    """``log sigmoid(x)``, exact where sigmoid itself would round to 0."""
    x = packed(input._array)
    out = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))

    def backward(g, wanted):
        return (g * sigmoid_array(-x),)

    def composite(x):
        return x.clamp(max=0) - (-x.abs()).exp().log1p()

    return fused("LogSigmoidBackward0", out, [input], backward, composite)


def softplus(input, beta=1.0, threshold=20.0):
    """``log(1 + exp(beta x)) / beta``; x itself where ``beta x`` is above the threshold."""
    x = input._array
    scaled = x * beta
    is_linear = scaled > threshold
    out = np.where(is_linear, x, (np.maximum(scaled, 0) + np.log1p(np.exp(-np.abs(scaled)))) / beta)

    def backward(g, wanted):
        return (np.where(is_linear, g, g * sigmoid_array(scaled)),)

    def composite(x):
        scaled = x * beta
        return (scaled.clamp(min=0) + (-scaled.abs()).exp().log1p()) / beta

    return fused("SoftplusBackward0", out.astype(x.dtype), [input], backward, composite)


def leaky_relu(input, negative_slope=0.01, inplace=False):
    """``x`` above 0, ``negative_slope x`` below."""
    x = input._array
    factor = np.where(x > 0, x.dtype.type(1), x.dtype.type(negative_slope))

    def composite(x):
        return x * make(factor, x.dtype)

    return fused("LeakyReluBackward0", x * factor, [input], lambda g, wanted: (g * factor,), composite)


def elu(input, alpha=1.0, inplace=False):
    """``x`` above 0, ``alpha (exp(x) - 1)`` below."""
    x = input._array
    below = alpha * np.expm1(np.minimum(x, 0))
    is_above = x > 0

    def composite(x):
        return x.where(x > 0, alpha * x.clamp(max=0).expm1())

    def backward(g, wanted):
        return (np.where(is_above, g, g * (below + alpha)),)

    return fused("EluBackward0", np.where(is_above, x, below), [input], backward, composite)
