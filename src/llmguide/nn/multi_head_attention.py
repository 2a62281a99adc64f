"""Multi-head attention: the layer with its projections.

Multi-head, grouped-query, multi-query and cross attention differ only in the number of key/value heads and in
the source of keys and values.

References: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2 (multi-head); Shazeer 2019, arXiv:1911.02150
(multi-query); Ainslie et al. 2023, arXiv:2305.13245 (grouped-query).

Glossary: ``B`` batch, ``T_q`` queries, ``T_k`` keys, ``T_c`` vectors of the context, ``D`` model width, ``H``
query heads, ``K`` key/value heads, ``E`` width of a head.
"""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.nn._linear import Linear
from llmguide.nn.attention import attend
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.masks import sliding_window_mask
from llmguide.nn.norms import RMSNorm
from llmguide.nn.rope import apply_rope


class MultiHeadAttention(nn.Module):
    """Attention in H heads of width E side by side (arXiv:1706.03762, section 3.2.2).

    With K key/value heads it is multi-head (K = H), grouped-query (1 < K < H) or multi-query (K = 1)
    attention.

    Queries, keys and values have separate projections, as cross attention and LoRA need them. One fused
    projection decoded one token 15 % faster (width 384, one row, 2 CPU cores), but made forward and backward
    2 to 12 % slower: the gradients of its three parts must be copied together again.

    Args:
        config: Model configuration; reads ``d_model``, ``n_heads``, ``n_kv_heads``, ``head_dim``, ``bias``,
            ``qkv_bias``, ``qk_norm`` (with ``norm_eps``), ``dropout``, ``sliding_window`` and ``positions``.

    >>> import torch
    >>> from llmguide import ModelConfig, MultiHeadAttention
    >>> config = ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3)
    >>> layer = MultiHeadAttention(config)
    >>> layer(torch.ones(1, 4, 12), is_causal=True)[0].shape  # (B, T, D)
    torch.Size([1, 4, 12])
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        D, H, K, E = config.d_model, config.n_heads, config.n_kv_heads, config.head_dim
        self.head_dim = E
        self.dropout = config.dropout
        self.sliding_window = config.sliding_window
        self.positions = config.positions
        self.q_proj = Linear(D, H * E, bias=config.qkv_bias)
        self.k_proj = Linear(D, K * E, bias=config.qkv_bias)
        self.v_proj = Linear(D, K * E, bias=config.qkv_bias)
        self.o_proj = Linear(H * E, D, bias=config.bias)
        self.q_norm = RMSNorm(E, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(E, config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B T_q D"],
        *,
        context: Float[Tensor, "B T_c D"] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        bias: Float[Tensor, "..."] | None = None,
        is_causal: bool = False,
        rope: tuple[Float[Tensor, "... T_q E_half"], Float[Tensor, "... T_q E_half"]] | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "B T_q D"], Float[Tensor, "B H T_q T_k"] | None]:
        """Attend from each position of ``x`` to ``x`` itself, or to ``context``.

        Args:
            x: Input vectors.
            context: Vectors that keys and values are computed from in cross-attention; None: ``x``
                (self-attention).
            mask: True where a query may attend, over all keys including the cached ones. A sliding window, if
                the config has one, is applied to self-attention in addition.
            bias: Bias added to the scores, such as `alibi_bias`.
            is_causal: Whether to apply ``causal_mask(T_q, T_k)`` as well; faster than passing that mask.
            rope: ``rope_tables`` for the positions of ``x``, shape ``(T_q, E/2)`` or ``(B, T_q, E/2)``.
            cache: Keys and values of earlier tokens. In self-attention the new ones are appended and all are
                used; in cross attention the first call stores those of ``context`` and later calls reuse
                them.
            layer: Index of this layer in ``cache``.
            need_weights: Whether to return the weights, through the reference path, which stores them.

        Returns:
            The outputs, and the weights of every head or None.

        Raises:
            ValueError: If the config asks for positions that are not passed in, shapes do not fit, or the
                cache drops tokens that this layer attends to.
        """
        is_cross = context is not None
        if self.positions == "rope" and rope is None and not is_cross:
            raise ValueError('positions="rope" needs rope=rope_tables(...) for the positions of x')
        if self.positions == "alibi" and bias is None and not is_cross:
            raise ValueError('positions="alibi" needs bias=alibi_bias(...) over all keys')

        q = self.q_norm(self._heads(self.q_proj(x)))
        if cache is not None and is_cross and cache.holds(layer):
            k, v = cache[layer]
        else:
            source = x if context is None else context
            k, v = self.k_norm(self._heads(self.k_proj(source))), self._heads(self.v_proj(source))
            if rope is not None and not is_cross:
                cos, sin = (table.unsqueeze(-3) for table in rope)  # an axis of size 1 for the heads
                q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
            if cache is not None:
                self._check_window(cache, is_cross)
                k, v = cache.append(layer, k, v)

        if self.sliding_window is not None and not is_cross:
            is_causal = True
            if k.shape[-2] > self.sliding_window:
                window = sliding_window_mask(
                    q.shape[-2], k.shape[-2], window=self.sliding_window, device=x.device
                )
                mask = window if mask is None else mask & window

        dropout = self.dropout if self.training else 0.0
        out, weights = attend(
            q, k, v, mask, bias=bias, is_causal=is_causal, dropout=dropout, need_weights=need_weights
        )
        return self.o_proj(out.transpose(1, 2).flatten(2)), weights

    def _check_window(self, cache: KVCache, is_cross: bool) -> None:
        own = None if is_cross else self.sliding_window
        if cache.window is not None and (own is None or cache.window < own):
            reach = "all tokens" if own is None else f"{own} tokens"
            raise ValueError(
                f"a cache with window={cache.window} drops keys of this layer, which attends to {reach}: "
                "leave window out, or pass one as large"
            )

    def _heads(self, x: Float[Tensor, "B T HE"]) -> Float[Tensor, "B H T E"]:
        """Split the last axis into heads."""
        B, T, width = x.shape
        heads = x.view(B, T, width // self.head_dim, self.head_dim)
        return heads.transpose(1, 2)
