"""Layer normalization, and its sibling that leaves out the mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch import kernels
from torch.dtypes import finfo
from torch.kernels import FLOAT32
from torch.nn.fused import fused
from torch.tensor import function, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch.tensor import Tensor
    from torch.types import Array

kernel, kernel_backward = kernels.find("norm"), kernels.find("norm_backward")


@function
def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-05,
) -> Tensor:
    """Subtract the mean of the last axes and divide by their standard deviation; then gain and bias."""

    def composite(input: Tensor, *rest: Tensor) -> Tensor:
        dims = tuple(range(-len(shape), 0))
        centered = input - input.mean(dims, keepdim=True)
        normal = centered * (centered.square().mean(dims, keepdim=True) + eps).rsqrt()
        if weight is not None:
            normal, rest = normal * rest[0], rest[1:]
        return normal if bias is None else normal + rest[0]

    shape = _checked(input, normalized_shape, weight, bias)
    return _norm("NativeLayerNormBackward0", input, shape, weight, bias, eps, composite, is_centered=True)


@function
def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide by the root of the mean square of the last axes; then gain."""
    eps = finfo(input.dtype).eps if eps is None else eps

    def composite(input: Tensor, weight: Tensor | None = None) -> Tensor:
        dims = tuple(range(-len(shape), 0))
        normal = input * (input.square().mean(dims, keepdim=True) + eps).rsqrt()
        return normal if weight is None else normal * weight

    shape = _checked(input, normalized_shape, weight)
    return _norm("MulBackward0", input, shape, weight, None, eps, composite, is_centered=False)


def _norm(
    title: str,
    input: Tensor,
    shape: tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    composite: Callable[..., Tensor],
    *,
    is_centered: bool,
) -> Tensor:
    """Both norms as one operation, by the kernel or by numpy; without the means it is RMSNorm."""
    width = math.prod(shape)
    x = packed(input._array)
    gain, offset = (None if t is None else packed(t._array) for t in (weight, bias))
    way_back = None  # the kernel for it, if a kernel has made the way out
    if kernel is not None and width and x.dtype is FLOAT32:
        out, normal = np.empty(x.shape, FLOAT32), np.empty(x.shape, FLOAT32)
        scale = np.empty(x.size // width, FLOAT32)
        arrays = id(x), _at(gain), _at(offset), id(out), id(normal), id(scale)
        way_back = kernel_backward if kernel(*arrays, eps, is_centered) else None
    if way_back is None:
        rows = x.reshape((-1, width) if width else (0, 0))
        centered = rows - _mean(rows) if is_centered else rows
        scale = 1 / np.sqrt(_mean(centered * centered) + x.dtype.type(eps))
        normal = centered * scale
        out = normal if gain is None else normal * gain.reshape(-1)
        out = (out if offset is None else out + offset.reshape(-1)).reshape(x.shape)

    def backward(g: Array, wanted: Sequence[bool]) -> Iterator[Array | None]:
        grad = None
        of_gain = np.zeros(shape, g.dtype) if weight is not None and wanted[1] else None
        of_offset = np.zeros(shape, g.dtype) if bias is not None and wanted[-1] else None
        if way_back is not None:
            g, grad = packed(g), np.empty(x.shape, FLOAT32)
            arrays = id(g), _at(gain), id(normal), id(scale), id(grad), _at(of_gain), _at(of_offset)
            way_back(*arrays, is_centered)
        else:
            g = g.reshape(normal.shape)
            if wanted[0]:
                h = g if gain is None else g * gain.reshape(-1)
                grad = ((h - _mean(h) if is_centered else h) - normal * _mean(h * normal)) * scale
                grad = grad.reshape(x.shape)
            if of_gain is not None:
                np.add.reduce(g * normal, axis=0, out=of_gain.reshape(-1))
            if of_offset is not None:
                np.add.reduce(g, axis=0, out=of_offset.reshape(-1))
        yield grad
        if weight is not None:
            yield of_gain
        if bias is not None:
            yield of_offset

    inputs = [t for t in (input, weight, bias) if t is not None]
    return fused(title, out, inputs, backward, composite)


def _checked(
    input: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None, bias: Tensor | None = None
) -> tuple[int, ...]:
    """The shape to normalize over."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, "
            "but got normalized_shape = []"
        )
    for name, parameter in (("weight", weight), ("bias", bias)):
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
    return shape


def _at(array: Array | None) -> int:
    return 0 if array is None else id(array)


def _mean(x: Array) -> Array:
    # np.mean takes three times as long for small arrays
    return np.add.reduce(x, axis=1, keepdims=True) / x.dtype.type(x.shape[1])
