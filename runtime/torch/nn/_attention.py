"""Scaled dot-product attention as one operation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torch.array_matmul import array_matmul
from torch.array_softmax import array_softmax
from torch.dtypes import bool_
from torch.nn.fused import c_name, fused
from torch.nn.random_masks import dropout_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.tensor import Tensor
    from torch.types import Array


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(Q K^T scale + mask) V``; a boolean mask is True where attention is allowed.

    A query that may attend to nothing gets zeros.
    """
    _check(query, key, value, attn_mask, enable_gqa)
    q, k, v = query._array, key._array, value._array
    groups = q.shape[-3] // k.shape[-3] if enable_gqa else 1
    if groups > 1:
        k, v = np.repeat(k, groups, axis=-3), np.repeat(v, groups, axis=-3)
    factor = q.dtype.type(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    scaled = q * factor
    scores = array_matmul(scaled, k.swapaxes(-1, -2))
    if attn_mask is not None:
        scores = scores + _bias(attn_mask, q.dtype)
    weights = array_softmax(scores, is_causal=is_causal, is_masked=attn_mask is not None)
    kept = dropout_mask(weights.shape, query.dtype, dropout_p)
    dropped = weights if kept is None else weights * kept
    out = array_matmul(dropped, v)

    def backward(g: Array, wanted: Sequence[bool]) -> tuple[Array | None, ...]:
        grad_value = array_matmul(dropped.swapaxes(-1, -2), g) if wanted[2] else None
        grad_weights = array_matmul(g, v.swapaxes(-1, -2))
        if kept is not None:
            grad_weights = grad_weights * kept
        grad_scores = weights * (grad_weights - np.add.reduce(g * out, axis=-1, keepdims=True))
        grad_query = array_matmul(grad_scores, k) * factor if wanted[0] else None
        grad_key = array_matmul(grad_scores.swapaxes(-1, -2), scaled) if wanted[1] else None
        if groups > 1:
            grad_key, grad_value = _ungroup(grad_key, groups), _ungroup(grad_value, groups)
        return grad_query, grad_key, grad_value, grad_scores

    inputs = [query, key, value]
    if attn_mask is not None and attn_mask.requires_grad:
        inputs.append(attn_mask)
    is_flash = q.ndim == 4 and kept is None and len(inputs) == 3 and q.shape[:2] == k.shape[:2]
    title = "UnsafeViewBackward0" if q.ndim > 2 else "MmBackward0"
    title = "ScaledDotProductFlashAttentionForCpuBackward0" if is_flash else title
    return fused(title, out, inputs, backward)


def _bias(mask: Tensor, dtype: np.dtype[Any]) -> Array:
    """What is added to the scores: 0 or minus infinity for a boolean mask."""
    if mask.dtype is not bool_:
        return mask._array
    return np.where(mask._array, dtype.type(0), dtype.type(-np.inf))


def _ungroup(grad: Array | None, groups: int) -> Array | None:
    """Add up the gradients of the copies of each key/value head."""
    if grad is None:
        return None
    *batch, heads, length, width = grad.shape
    return grad.reshape(*batch, heads // groups, groups, length, width).sum(axis=-3)


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, enable_gqa: bool) -> None:
    three = "query.{0}: {1} key.{0}: {2} and value.{0}: {3} instead."
    dtypes = query.dtype, key.dtype, value.dtype
    shapes = q, k, v = query._array.shape, key._array.shape, value._array.shape
    ndims = len(q), len(k), len(v)
    if not dtypes[0] is dtypes[1] is dtypes[2]:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got "
            + three.format("dtype", *map(c_name, dtypes))
        )
    if min(ndims) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got "
            + three.format("dim", *ndims)
        )
    if dtypes[0].kind < 2:
        raise RuntimeError(f"expected scalar type Float but found {dtypes[0].title}")
    if mask is not None and mask.dtype is not bool_ and mask.dtype is not query.dtype:
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
            f"{c_name(mask.dtype)} and  query.dtype: {c_name(query.dtype)} instead."
        )
    if enable_gqa and q[-3] % k[-3]:
        raise RuntimeError("Number of heads in key and value must divide the number of heads in ")
    if q[-1] != k[-1] or k[-2] != v[-2]:
        raise RuntimeError(
            f"query {q}, key {k}, value {v}: query and key must be equally wide (last axis), key and value "
            "equally long (last but one)"
        )
    batches = [shape[: -3 if enable_gqa else -2] for shape in shapes]
    for a, b in (batches[:2], batches[::2]):
        for i, (m, n) in enumerate(zip(a[::-1], b[::-1], strict=False), start=1):
            if m != n and 1 not in (m, n):
                raise RuntimeError(
                    f"The size of tensor a ({m}) must match the size of tensor b ({n}) at non-singleton "
                    f"dimension {max(len(a), len(b)) - i}"
                )
