"""Products with the weights of a `llmguide.nn.q4.Q4Linear` where no kernel multiplies by them in 4 bits.

Either the layer keeps its dequantized weight, or each product dequantizes it again, some rows at a time.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llmguide.nn._linear import linear

ROWS = 4096  # of a large matrix that are dequantized at once


def kept_weight(layer: Any, dtype: torch.dtype) -> Float[Tensor, "D_out D_in"]:
    """Return the dequantized weight in a data type, which the layer keeps until a buffer changes."""
    weight: Tensor
    buffers = list(layer.buffers())
    try:
        key = (dtype, *((id(buffer), buffer._version) for buffer in buffers))
    except RuntimeError:  # buffers made in inference mode do not count their changes
        weight = layer.weight.to(dtype)
        return weight
    kept_key, weight, _ = layer.kept
    if kept_key != key:
        with torch.inference_mode(False):  # training may use it later
            weight = layer.row_scales.new_empty(layer.out_features, layer.in_features, dtype=dtype)
            for at, rows in _parts(layer):
                weight[at] = rows
        layer.kept = key, weight, buffers  # while the buffers exist, no other tensor has their ids
    return weight


class DequantizedProduct(torch.autograd.Function):
    """Compute x W^T, and dequantize W again in the backward pass instead of saving it for autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any) -> Tensor:
        ctx.layer = layer
        parts = [linear(x, weight.to(x.dtype)) for _, weight in _parts(layer)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        parts = [linear(grad[..., at], weight.to(grad.dtype).T) for at, weight in _parts(ctx.layer)]
        return sum(parts[1:], parts[0]), None


def _parts(layer: Any) -> Iterator[tuple[slice, Tensor]]:
    """Yield the dequantized weight, some rows at a time."""
    for start in range(0, layer.out_features, ROWS):
        at = slice(start, start + ROWS)
        yield at, layer.rows(at)
