"""torch's own layer of multi-head attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from torch.nn import init
from torch.nn.layers import Linear
from torch.nn.module import Module
from torch.nn.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.tensor import Tensor
    from torch.types import Device, DType


class _OutProjection(Linear):
    """A linear layer, under the name by which torch prints it."""

    def _get_name(self) -> str:
        return "NonDynamicallyQuantizableLinear"


class MultiheadAttention(Module):
    """Several attentions side by side; in its masks, True (or minus infinity) hides.

    Queries, keys and values have one width, and their projections are one weight.
    """

    in_proj_bias: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        device: Device = None,
        dtype: DType | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        if others:
            raise NotImplementedError(
                f"nn.MultiheadAttention with {', '.join(others)} is not in the in-page subset; "
                "run with PyTorch"
            )
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.in_proj_weight = Parameter(torch.empty(3 * embed_dim, embed_dim, device=device, dtype=dtype))
        self.register_parameter("in_proj_bias", Parameter(torch.empty(3 * embed_dim)) if bias else None)
        self.out_proj = _OutProjection(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        init.xavier_uniform_(self.in_proj_weight)
        for offset in (self.in_proj_bias, self.out_proj.bias):
            if offset is not None:
                init.zeros_(offset)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: ``(T_q, B, D)``, or ``(B, T_q, D)`` if `batch_first`; B may be left out.
            key: The same with T_k.
            value: As `key`.
            key_padding_mask: ``(B, T_k)``, True for padding.
            need_weights: Return the weights too.
            attn_mask: ``(T_q, T_k)`` or ``(B * heads, T_q, T_k)``.
            average_attn_weights: Return their mean over the heads.
            is_causal: A hint that `attn_mask` is causal; alone it is an error.

        Returns:
            The result, and the weights or None.
        """
        if is_causal and attn_mask is None:
            raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
        is_batched = query.ndim == 3
        if is_batched and not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        if not is_batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
        weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(x, w, b).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        scores = (q / math.sqrt(self.head_dim)) @ k.transpose(-2, -1)
        for mask in self._masks(attn_mask, key_padding_mask, scores):
            scores = scores.masked_fill(mask, -math.inf) if mask.dtype is torch.bool else scores + mask
        attention = scores.softmax(-1)
        kept = F.dropout(attention, self.dropout, self.training)
        out = self.out_proj((kept @ v).permute(2, 0, 1, 3).flatten(2))  # (T_q, B, D)
        if not is_batched:
            out = out.squeeze(1)
        elif self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        shown = kept.mean(1) if average_attn_weights else kept
        return out, shown if is_batched else shown.squeeze(0)

    def _masks(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, scores: Tensor
    ) -> Iterator[Tensor]:
        """Both masks, in shapes that broadcast to (B, heads, T_q, T_k)."""
        if attn_mask is not None:
            yield attn_mask.view(scores.shape) if attn_mask.ndim == 3 else attn_mask
        if key_padding_mask is not None:
            yield key_padding_mask.view(-1, 1, 1, scores.shape[-1])
