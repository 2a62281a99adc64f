r"""Scaled dot-product attention.

$$\operatorname{Attention}(Q, K, V) =
\operatorname{softmax}\!\left(\frac{QK^\top}{\sqrt{E}} + \text{bias}\right) V$$

`attention` is the formula, written to be read. `fast_attention` gives the same output, up to rounding,
through torch's fused kernels, which do not store the ``T_q x T_k`` weights. The layer around them is
`llmguide.nn.multi_head_attention.MultiHeadAttention`.

References: Vaswani et al. 2017, arXiv:1706.03762, equation 1; Dao et al. 2022, arXiv:2205.14135 (the fused
kernel).

Glossary: ``T_q`` queries, ``T_k`` keys, ``H`` query heads, ``K`` key/value heads, ``E`` width of a query and
key head, ``E_v`` width of a value head (the same as ``E`` except in latent attention).

A query that may attend to nothing gives zeros in both functions, as in torch; the textbook formula gives NaN.
Differences from torch: ``is_causal`` is aligned bottom-right (see `llmguide.nn.masks`), and `attention`
multiplies and normalizes half precision inputs in float32 and rounds once, at the end.
"""

from math import inf

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from llmguide.nn._attention_inputs import require_matching
from llmguide.nn.masks import causal_mask


def attention(
    q: Float[Tensor, "*H T_q E"],
    k: Float[Tensor, "*K T_k E"],
    v: Float[Tensor, "*K T_k E_v"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    bias: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "*H T_q E_v"], Float[Tensor, "*H T_q T_k"]]:
    r"""Compute scaled dot-product attention: the values, averaged by how well each key matches the query.

    $$\text{weights} = \operatorname{softmax}(qk^\top \cdot \text{scale} + \text{bias}), \quad
    \text{out} = \text{weights}\, v$$

    Vaswani et al. 2017, arXiv:1706.03762, equation 1. Without the scale the scores of E random components
    have variance E, and the softmax saturates (their footnote 4).

    Args:
        q: Query vectors. The third axis from the right, if there is one, is the head axis.
        k: Key vectors, with the leading axes of ``q``; the head axis may be a divisor K of H, and then every
            H/K neighboring query heads share one key head (grouped-query attention).
        v: Value vectors, one for each key.
        mask: True where a query may attend; broadcasts to ``(..., H, T_q, T_k)``. A query that may attend to
            nothing gets weights 0 and output 0.
        bias: Bias added to the scaled scores, such as `alibi_bias` or an additive mask; broadcasts like
            ``mask``.
        scale: Factor on the scores; None: $1/\sqrt{E}$.
        dropout: Probability with which each weight is dropped (and the rest scaled up). It is always applied:
            pass 0 outside training.

    Returns:
        The outputs, and the attention weights (after dropout), both in the dtype of ``q``.

    Raises:
        ValueError: If shapes or dtypes do not fit, or the mask is not boolean.

    >>> from llmguide import attention
    >>> q = torch.tensor([[1.0, 0.0]])
    >>> k = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    >>> v = torch.tensor([[0.0], [4.0]])
    >>> out, weights = attention(q, k, v, scale=1.0986123)  # scores 0 and log 3: weights 1 to 3
    >>> weights.tolist(), out.tolist()
    ([[0.25, 0.75]], [[3.0]])
    >>> attention(q, k, v, torch.tensor([[True, False]]))[1].tolist()
    [[1.0, 0.0]]
    """
    require_matching(q, k, v, mask, bias)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    wide = torch.promote_types(q.dtype, torch.float32)
    k, v = (_repeat_heads(x, like=q).to(wide) for x in (k, v))

    scores = (q.to(wide) * scale) @ k.mT  # (..., H, T_q, T_k)
    if bias is not None:
        scores = scores + bias.to(wide)
    if mask is not None:
        scores = scores.masked_fill(~mask, -inf)

    # The softmax of a row of -inf is 0/0. Such rows pass through as zeros and are zeroed after it, so that
    # neither the result nor its gradient ever holds a NaN.
    hidden = (scores == -inf).all(dim=-1, keepdim=True)
    weights = scores.masked_fill(hidden, 0.0).softmax(dim=-1).masked_fill(hidden, 0.0)
    weights = F.dropout(weights, dropout)
    return (weights @ v).to(q.dtype), weights.to(q.dtype)


def fast_attention(
    q: Float[Tensor, "*H T_q E"],
    k: Float[Tensor, "*K T_k E"],
    v: Float[Tensor, "*K T_k E_v"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    bias: Float[Tensor, "..."] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "*H T_q E_v"]:
    """Compute the output of `attention` with torch's fused kernels, which do not store the weights.

    Where torch has no such kernel, it computes the formula and stores them: on a processor with dropout, with
    values of another width than the keys, with a bias that is trained, or with fewer than four axes.

    Args:
        q: Queries, as in `attention`.
        k: Keys, as in `attention`.
        v: Values, as in `attention`.
        mask: True where a query may attend, as in `attention`.
        bias: Bias added to the scaled scores, as in `attention`.
        is_causal: Whether to apply ``causal_mask(T_q, T_k)`` as well. For ``T_q == T_k`` without mask
            and bias, none is built and the kernel skips the hidden half of the work.
        scale: Factor on the scores, as in `attention`.
        dropout: Probability with which each weight is dropped, as in `attention`.

    Returns:
        The outputs, in the dtype of ``q``.

    Raises:
        ValueError: If shapes or dtypes do not fit, or the mask is not boolean.

    >>> from llmguide import fast_attention
    >>> q = torch.tensor([[1.0, 0.0]])
    >>> k = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    >>> v = torch.tensor([[0.0], [4.0]])
    >>> fast_attention(q, k, v, scale=1.0986123).tolist()
    [[3.0]]
    """
    require_matching(q, k, v, mask, bias)
    T_q, T_k = q.shape[-2], k.shape[-2]
    if is_causal and T_q == 1:
        is_causal = False  # the last position sees every key
    if is_causal and not (T_q == T_k and mask is None and bias is None):
        past = causal_mask(T_q, T_k, device=q.device)
        mask, is_causal = past if mask is None else mask & past, False

    added: Tensor | None = mask
    if bias is not None:
        added = bias.to(torch.promote_types(q.dtype, torch.float32))
        if mask is not None:
            added = torch.where(mask, added, -inf)
    if added is not None and added.ndim < 2:
        added = added.expand(T_q, T_k)  # torch refuses some masks of fewer axes
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=added,
        dropout_p=dropout,
        is_causal=is_causal,
        scale=scale,
        enable_gqa=q.shape[:-2] != k.shape[:-2],
    )


def attend(
    q: Float[Tensor, "*H T_q E"],
    k: Float[Tensor, "*K T_k E"],
    v: Float[Tensor, "*K T_k E_v"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    bias: Float[Tensor, "..."] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[Float[Tensor, "*H T_q E_v"], Float[Tensor, "*H T_q T_k"] | None]:
    """Use the fast path, or the reference path if the weights are needed; arguments as in both.

    >>> q = torch.tensor([[1.0, 0.0]])
    >>> attend(q, q, q), attend(q, q, q, need_weights=True)
    ((tensor([[1., 0.]]), None), (tensor([[1., 0.]]), tensor([[1.]])))
    """
    if not need_weights:
        return fast_attention(
            q, k, v, mask, bias=bias, is_causal=is_causal, scale=scale, dropout=dropout
        ), None
    if is_causal:
        past = causal_mask(q.shape[-2], k.shape[-2], device=q.device)
        mask = past if mask is None else mask & past
    return attention(q, k, v, mask, bias=bias, scale=scale, dropout=dropout)


def _repeat_heads(x: Tensor, *, like: Tensor) -> Tensor:
    """Repeat each key/value head for its group of query heads, (..., K, T, E) -> (..., H, T, E)."""
    if x.shape[:-2] == like.shape[:-2]:
        return x
    return x.repeat_interleave(like.shape[-3] // x.shape[-3], dim=-3)
