"""Layer normalization, and its sibling that leaves out the mean."""

import math

import numpy as np

from torch.dtypes import finfo
from torch.nn.fused import fused
from torch.tensor import function, packed


@function
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05):
    """Subtract the mean of the last axes and divide by their standard deviation; then gain and bias."""
    shape, x = _checked(input, normalized_shape, weight, bias)
    centered = x - _mean(x)
    scale = 1 / np.sqrt(_mean(centered * centered) + x.dtype.type(eps))
    normal = centered * scale
    inputs = [t for t in (input, weight, bias) if t is not None]

    def composite(input, *rest):
        dims = tuple(range(-len(shape), 0))
        centered = input - input.mean(dims, keepdim=True)
        normal = centered * (centered.square().mean(dims, keepdim=True) + eps).rsqrt()
        rest = list(rest)
        if weight is not None:
            normal = normal * rest.pop(0)
        return normal if bias is None else normal + rest[0]

    def backward(g, wanted):
        g = g.reshape(x.shape)
        gradients = [None] * len(inputs)
        if wanted[0]:
            h = g if weight is None else g * _flat(weight)
            gradients[0] = ((h - _mean(h) - normal * _mean(h * normal)) * scale).reshape(input.shape)
        if weight is not None and wanted[1]:
            gradients[1] = np.add.reduce(g * normal, axis=0).reshape(shape)
        if bias is not None and wanted[-1]:
            gradients[-1] = np.add.reduce(g, axis=0).reshape(shape)
        return gradients

    out = normal if weight is None else normal * _flat(weight)
    out = out if bias is None else out + _flat(bias)
    return fused("NativeLayerNormBackward0", out.reshape(input.shape), inputs, backward, composite)


@function
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """Divide by the root of the mean square of the last axes; then gain."""
    shape, x = _checked(input, normalized_shape, weight)
    eps = finfo(input.dtype).eps if eps is None else eps
    scale = 1 / np.sqrt(_mean(x * x) + x.dtype.type(eps))
    normal = x * scale
    inputs = [t for t in (input, weight) if t is not None]

    def composite(input, weight=None):
        dims = tuple(range(-len(shape), 0))
        normal = input * (input.square().mean(dims, keepdim=True) + eps).rsqrt()
        return normal if weight is None else normal * weight

    def backward(g, wanted):
        g = g.reshape(x.shape)
        gradients = [None] * len(inputs)
        if wanted[0]:
            h = g if weight is None else g * _flat(weight)
            gradients[0] = ((h - normal * _mean(h * normal)) * scale).reshape(input.shape)
        if weight is not None and wanted[1]:
            gradients[1] = np.add.reduce(g * normal, axis=0).reshape(shape)
        return gradients

    out = normal if weight is None else normal * _flat(weight)
    return fused("MulBackward0", out.reshape(input.shape), inputs, backward, composite)


def _checked(input, normalized_shape, *parameters):
    """The shape to normalize over, and the input as a matrix with one row for each norm."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, "
            "but got normalized_shape = []"
        )
    for name, parameter in zip(("weight", "bias"), parameters, strict=False):
        if parameter is not None and parameter._array.shape != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(parameter.shape)} and normalized_shape = {list(shape)}"
            )
    array = input._array
    if array.ndim < len(shape) or array.shape[array.ndim - len(shape) :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*{''.join(f', {size}' for size in shape)}], but got input of size{list(input.shape)}"
        )
    return shape, packed(array).reshape((-1, math.prod(shape)) if 0 not in shape else (0, 0))


def _flat(parameter):
    return parameter._array.reshape(-1)


def _mean(x):
    # np.mean takes three times as long for small arrays
    return np.add.reduce(x, axis=1, keepdims=True) / x.dtype.type(x.shape[1])
