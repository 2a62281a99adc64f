"""Linear layers for decoding steps of few rows: each with the fastest kernel and memory layout."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmguide.nn._linear import Linear, processor
from llmguide.nn.q4 import Q4Linear, kernel, stack_q4
from llmguide.nn.unchanged import is_unchanged


def fast_linear(modules: Sequence[Any], copy_for: int) -> Callable[[Tensor], Tensor]:
    """Concatenate layers with the same input, each ``x W^T + b``, using the fastest kernel for few rows.

    Times in milliseconds for 6 layers of width 384 and 2 threads. Intel with AMX: float32, one row, F.linear
    0.9 and oneDNN 1.2; 8 rows, F.linear 1.6, oneDNN 1.5, with transposed copies 1.3; bfloat16, either number
    of rows, F.linear 1.2 to 1.4, oneDNN with its own layout 0.8. AMD, float32: one row, F.linear 4.4, oneDNN
    2.6, in parts 1.2, and reading the weights takes 1.0; 8 rows, F.linear 4.9 and oneDNN 3.4.
    """
    if not all(is_unchanged(module, Linear, nn.Linear, nn.Embedding) for module in modules):
        return _beside(modules)
    weights = [module.weight.detach() for module in modules]
    biases: list[Any] = [getattr(module, "bias", None) for module in modules]
    kernel = _kernel(weights[0].device.type, weights[0].dtype, copy_for)
    onednn: Any = torch.ops.mkldnn._linear_pointwise.default if kernel == "onednn" else None

    if copy_for and kernel != "plain":
        w = torch.cat(weights)
        b = None if biases[0] is None else torch.cat(biases).detach()
        if kernel == "parts":
            return _in_parts(w, b)
        if kernel == "onednn":
            w = torch.ops.mkldnn._reorder_linear_weight(w, copy_for)
            return lambda x: onednn(x, w, b, "none", [], "")
        w = w.T.contiguous()
        return (lambda x: torch.mm(x, w)) if b is None else (lambda x: torch.addmm(b, x, w))

    if onednn is None or not all(w.is_contiguous() for w in weights):  # oneDNN would copy each time
        return _beside([partial(F.linear, weight=w, bias=b) for w, b in zip(weights, biases, strict=True)])
    rest = {"attr": "none", "scalars": [], "algorithm": ""}
    return _beside([partial(onednn, W=w, B=b, **rest) for w, b in zip(weights, biases, strict=True)])


def _in_parts(w: Tensor, b: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Split a layer into a batch of smaller ones, for which MKL uses a kernel that reads the weights once."""
    n, D_out = max(4, torch.get_num_threads()), len(w)
    w = F.pad(w, (0, 0, 0, -D_out % n)).view(n, -1, w.shape[1])
    b = w.new_zeros(n, w.shape[1], 1) if b is None else F.pad(b, (0, -D_out % n)).view(n, -1, 1)

    def multiply(x: Tensor) -> Tensor:
        columns = torch.baddbmm(b, w, x.T.expand(n, -1, -1)).view(-1, len(x))
        return columns[:D_out].T.contiguous()

    return multiply


def _beside(layers: Sequence[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    """Concatenate the results of layers."""
    if all(type(layer) is Q4Linear for layer in layers):
        quantized = cast(Sequence[Q4Linear], layers)
        if kernel and len(layers) > 1:
            quantized = (stack_q4(quantized),)
        layers = [layer.prepared() for layer in quantized]
    if len(layers) == 1:
        return layers[0]
    return lambda x: torch.cat([layer(x) for layer in layers], dim=-1)


def _kernel(
    device: str, dtype: torch.dtype, copy_for: int
) -> Literal["plain", "onednn", "transposed", "parts"]:
    """Choose how to multiply by a weight: `F.linear`, oneDNN, or a copy in the order in which it is read."""
    is_plain = device != "cpu" or torch.is_autocast_enabled("cpu") or not processor()
    if is_plain or dtype not in (torch.float32, torch.bfloat16):
        return "plain"
    has_onednn = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if dtype == torch.bfloat16:
        return "onednn" if has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported() else "plain"
    if processor() == "AuthenticAMD":
        if 1 <= copy_for <= 2:  # rows; with 4 rows it takes three times as long as oneDNN
            return "parts"
        return "onednn" if has_onednn else "plain"
    return "transposed" if copy_for > 1 else "plain"
