"""What layers compute, as functions: torch.nn.functional.

The frequent operations are fused, in files of their own; those here are made of tensor operations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

import numpy as np

import torch
from torch.array_matmul import array_matmul
from torch.nn._activations import elu, gelu, leaky_relu, logsigmoid, silu, softplus
from torch.nn._attention import scaled_dot_product_attention
from torch.nn._cross_entropy import cross_entropy, nll_loss
from torch.nn._losses import binary_cross_entropy_with_logits, kl_div, mse_loss
from torch.nn.fused import c_name, fused
from torch.nn.norms import layer_norm, rms_norm
from torch.nn.random_masks import dropout_mask
from torch.refusal import refusal
from torch.row_sums import column_sums, sums_by_row
from torch.tensor import make, packed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch.tensor import Tensor
    from torch.types import Array, DType

__all__ = [
    "binary_cross_entropy_with_logits",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "kl_div",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


# ---- layers ------------------------------------------------------------------------------------------------


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b`` for weights ``(out, in)``."""
    x, w = input._array, weight._array
    shape = x.shape
    if (
        not (shape and w.ndim == 2 and shape[-1] == w.shape[1])
        or input.dtype is not weight.dtype
        or (bias is not None and bias.dtype is not weight.dtype)
    ):
        _refuse_linear(input, weight, bias)
    rows = x if len(shape) == 2 else x.reshape(math.prod(shape[:-1]), shape[-1])
    out = array_matmul(rows, w.T, None if bias is None else packed(bias._array))

    def composite(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        product = input @ weight.t()
        return product if bias is None else product + bias

    def backward(g: Array, wanted: Sequence[bool]) -> Iterator[Array | None]:
        g = g.reshape(len(rows), len(w))
        yield array_matmul(g, w).reshape(shape) if wanted[0] else None
        yield array_matmul(g.T, rows) if wanted[1] else None
        if bias is not None:
            yield column_sums(g) if wanted[2] else None

    inputs = [input, weight] if bias is None else [input, weight, bias]
    if len(shape) == 2:
        title = "MmBackward0" if bias is None else "AddmmBackward0"
    else:
        out = out.reshape(*shape[:-1], len(w))
        title = "UnsafeViewBackward0" if bias is None else "ViewBackward0"
    return fused(title, out, inputs, backward, composite)


def _refuse_linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input.ndim == 0 or weight.ndim != 2 or input.shape[-1] != weight.shape[1]:
        rows = input.numel() // input.shape[-1] if input.ndim and input.shape[-1] else 1
        width = input.shape[-1] if input.ndim else 1
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{width} and "
            f"{'x'.join(str(size) for size in reversed(weight.shape))})"
        )
    if weight.dtype is not input.dtype and bias is None:
        raise RuntimeError(
            "expected m1 and m2 to have the same dtype, but got: "
            f"{c_name(input.dtype)} != {c_name(weight.dtype)}"
        )
    for name, other in (("mat1", input), ("self", bias)):
        if other is not None and other.dtype is not weight.dtype:
            raise RuntimeError(
                f"{name} and mat2 must have the same dtype, but got {other.dtype.title} and "
                f"{weight.dtype.title}"
            )


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """The rows of a table that have these indices; the row of the padding gets no gradient."""
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    if input.dtype.name not in ("int64", "int32"):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; "
            f"but got torch.{input.dtype.title}Tensor instead (while checking arguments for embedding)"
        )
    index, table = input._array, weight._array
    if index.size and (index.min() < 0 or index.max() >= len(table)):
        raise IndexError("index out of range in self")

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array]:
        grad = sums_by_row(len(table), index.reshape(-1), g.reshape(index.size, table.shape[1]))
        if padding_idx is not None:
            grad[padding_idx] = 0
        return (grad,)

    def composite(weight: Tensor) -> Tensor:
        rows = weight[input]
        if padding_idx is None:
            return rows
        return torch.where((input == padding_idx).unsqueeze(-1), rows.detach(), rows)

    return fused("EmbeddingBackward0", table[index], [weight], backward, composite)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Set a random share `p` of the numbers to 0 and scale the others up, in training."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    array = dropout_mask(input.shape, input.dtype, p) if training else None
    if array is None:
        return input
    mask = make(array, input.dtype)
    return input.mul_(mask) if inplace else input * mask


# ---- activations -------------------------------------------------------------------------------------------


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """The larger of x and 0."""
    return input.relu_() if inplace else input.relu()


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return input.tanh()


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None
) -> Tensor:
    """Exponentials that add up to 1 along an axis."""
    return input.softmax(_chosen(dim, input), dtype=dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None
) -> Tensor:
    """The logarithm of `softmax`, exact where that would round to 0."""
    return input.log_softmax(_chosen(dim, input), dtype=dtype)


def _chosen(dim: int | None, input: Tensor) -> int:
    if dim is None:
        raise TypeError(f"softmax of a tensor with {input.ndim} axes needs dim; dim=-1 is the last one")
    return dim


# ---- shapes and distances ----------------------------------------------------------------------------------


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Add (or cut off, where negative) elements: the first two numbers are for the last axis, and so on."""
    if mode != "constant":
        raise NotImplementedError(f"pad with mode={mode!r} is not in the in-page subset; run with PyTorch")
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) > 2 * input.ndim:
        raise RuntimeError(f"Padding length too large: {len(pad)} numbers for {input.ndim} axes")
    x = input._array
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    shape = [size + before + after for size, (before, after) in zip(x.shape, widths, strict=True)]
    kept = tuple(
        slice(max(-before, 0), size - max(-after, 0))
        for size, (before, after) in zip(x.shape, widths, strict=True)
    )
    place = tuple(
        slice(max(before, 0), size - max(after, 0))
        for size, (before, after) in zip(shape, widths, strict=True)
    )
    out = np.full(shape, value or 0, x.dtype)
    out[place] = x[kept]

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array]:
        grad = np.zeros(x.shape, g.dtype)
        grad[kept] = g[place]
        return (grad,)

    def composite(input: Tensor) -> Tensor:
        wide = input.new_full(tuple(shape), value or 0)
        wide[place] = input[kept]
        return wide

    return fused("ConstantPadNdBackward0", out, [input], backward, composite)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """A new last axis with a 1 at each class and 0 elsewhere."""
    if tensor.dtype.name != "int64":
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if tensor.numel() and tensor.min().item() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        if tensor.numel() == 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = tensor.max().item() + 1
    if tensor.numel() and tensor.max().item() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return (tensor.contiguous().unsqueeze(-1) == torch.arange(num_classes)).long()


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Divide by the norm along an axis, which counts as `eps` at least."""
    return input / input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between vectors along an axis."""
    norms = [x.norm(2, dim, keepdim=True).clamp_min(eps) for x in (x1, x2)]
    return ((x1 / norms[0]) * (x2 / norms[1])).sum(dim)


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.nn.functional", name)
