r"""Multi-head latent attention (MLA): a cache of one short vector per token for all heads.

Keys and values of all heads are linear functions of one latent vector per token, and only that vector is
cached, with one key for the positions that all heads share (RoPE cannot be made from the latent: its rotation
would stand between the two projections that the trick below multiplies together):

$$c_t = \operatorname{norm}(W^{DKV} h_t), \quad k^C_{t,h} = W^{UK}_h c_t, \quad v_{t,h} = W^{UV}_h c_t, \quad
k^R_t = \operatorname{RoPE}(W^{KR} h_t)$$
$$q_{t,h} = [q^C_{t,h};\, \operatorname{RoPE}(q^R_{t,h})], \quad k_{t,h} = [k^C_{t,h};\, k^R_t]$$

DeepSeek-V2 caches 512 + 64 values per token and layer, where its 128 heads of width 128 would take 32,768.

The cached vectors need not be expanded to be used («absorption»): since
$q^{C\top} W^{UK} c = (W^{UK\top} q^C)^\top c$, the queries can be brought into the space of the latents.
There, all heads share one key $[c; k^R]$ and one value c: while decoding, latent attention is multi-query
attention. Single tokens take this way here, longer inputs expand the vectors (past about 170 new tokens that
is less work).

Reference: DeepSeek-AI 2024, arXiv:2405.04434, section 2.1 and appendix C; Shazeer 2019, arXiv:1911.02150
(multi-query). Leaves out: grouped latents. The RMSNorm on the latents stands in section 3.1.2, not in the
equations.

Glossary: ``B`` batch, ``T`` tokens, ``D`` model width, ``H`` heads, ``R`` rank of the latent (paper: d_c),
``N`` width of the part of a head without positions (d_h), ``P`` width of the part with (d_h^R), ``E_v`` width
of a value.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmguide.nn._linear import Linear
from llmguide.nn.attention import attend
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.norms import RMSNorm
from llmguide.nn.rope import apply_rope


class LatentAttention(nn.Module):
    """Self-attention with keys and values of low rank; the defaults of the widths are those of DeepSeek-V2.

    Args:
        d_model: Model width D (DeepSeek-V2: 5120).
        n_heads: Number of heads H (DeepSeek-V2: 128).
        kv_rank: Width R of the cached latent.
        q_rank: Width of the latent that queries are computed from, which saves parameters; None: no query
            latent.
        nope_dim: Width N of the part of each query and key without positions.
        rope_dim: Width P of the part with positions, even.
        v_dim: Width E_v of each value.
        scale: Factor on the scores; None: one over the root of N + P.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        kv_rank: int = 512,
        q_rank: int | None = 1536,
        nope_dim: int = 128,
        rope_dim: int = 64,
        v_dim: int = 128,
        scale: float | None = None,
    ):
        super().__init__()
        self.n_heads = n_heads
        self.kv_rank, self.nope_dim, self.rope_dim, self.v_dim = kv_rank, nope_dim, rope_dim, v_dim
        self.scale = (nope_dim + rope_dim) ** -0.5 if scale is None else scale
        q_width = n_heads * (nope_dim + rope_dim)
        self.q_proj: nn.Module
        if q_rank is None:
            self.q_proj = Linear(d_model, q_width, bias=False)
        else:
            down, up = Linear(d_model, q_rank, bias=False), Linear(q_rank, q_width, bias=False)
            self.q_proj = nn.Sequential(down, RMSNorm(q_rank, eps=1e-6), up)
        self.kv_down = Linear(d_model, kv_rank + rope_dim, bias=False)  # the latent, and the shared key
        self.kv_norm = RMSNorm(kv_rank, eps=1e-6)
        self.kv_up = Linear(kv_rank, n_heads * (nope_dim + v_dim), bias=False)
        self.o_proj = Linear(n_heads * v_dim, d_model, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B T_q D"],
        *,
        rope: tuple[Float[Tensor, "... T_q P_half"], Float[Tensor, "... T_q P_half"]],
        mask: Bool[Tensor, "..."] | None = None,
        is_causal: bool = False,
        cache: KVCache | None = None,
        layer: int = 0,
        need_weights: bool = False,
    ) -> tuple[Float[Tensor, "B T_q D"], Float[Tensor, "B H T_q T_k"] | None]:
        """Attend from each position to itself and the others, as `MultiHeadAttention` does.

        Args:
            x: Input vectors.
            rope: ``rope_tables`` of width P for the positions of ``x``; pairs are interleaved.
            mask: True where a query may attend, over all keys including the cached ones; the same for all
                heads.
            is_causal: Whether to apply ``causal_mask(T_q, T_k)`` as well.
            cache: Latents of earlier tokens; the new ones are appended as keys of one head, with values of
                width 0.
            layer: Index of this layer in ``cache``.
            need_weights: Whether to return the attention weights.

        Returns:
            The outputs, and the weights of every head or None.
        """
        B, T, _ = x.shape
        cos, sin = (table.unsqueeze(-3) for table in rope)  # an axis of size 1 for the heads
        q = self.q_proj(x).view(B, T, self.n_heads, -1).transpose(1, 2)
        q_nope, q_rope = torch.split(q, [self.nope_dim, self.rope_dim], dim=-1)
        q_rope = apply_rope(q_rope, cos, sin, layout="interleaved")

        latent, k_rope = torch.split(self.kv_down(x)[:, None], [self.kv_rank, self.rope_dim], dim=-1)
        k_rope = apply_rope(k_rope, cos, sin, layout="interleaved")
        kept = torch.cat((self.kv_norm(latent), k_rope), dim=-1)  # (B, 1, T, R + P)
        if cache is not None:
            kept, _ = cache.append(layer, kept, kept[..., :0])

        if T == 1:
            out, weights = self._decode(q_nope, q_rope, kept, mask, need_weights)
        else:
            k, v = self._expand(kept)
            q = torch.cat((q_nope, q_rope), dim=-1)
            out, weights = attend(
                q, k, v, mask, is_causal=is_causal, scale=self.scale, need_weights=need_weights
            )
        return self.o_proj(out.transpose(1, 2).flatten(2)), weights

    def _expand(
        self, kept: Float[Tensor, "B 1 T_k R_P"]
    ) -> tuple[Float[Tensor, "B H T_k N_P"], Float[Tensor, "B H T_k E_v"]]:
        """Compute the keys and values of every head from the cached vectors."""
        latent, k_rope = torch.split(kept, [self.kv_rank, self.rope_dim], dim=-1)
        B, _, T_k, _ = kept.shape
        expanded = self.kv_up(latent).view(B, T_k, self.n_heads, -1).transpose(1, 2)
        k_nope, v = torch.split(expanded, [self.nope_dim, self.v_dim], dim=-1)
        return torch.cat((k_nope, k_rope.expand(-1, self.n_heads, -1, -1)), dim=-1), v

    def _decode(
        self,
        q_nope: Float[Tensor, "B H 1 N"],
        q_rope: Float[Tensor, "B H 1 P"],
        kept: Float[Tensor, "B 1 T_k R_P"],
        mask: Bool[Tensor, "..."] | None,
        need_weights: bool,
    ) -> tuple[Float[Tensor, "B H 1 E_v"], Float[Tensor, "B H 1 T_k"] | None]:
        """Attend from one token without expanding the cache: the H heads are queries on one set of keys."""
        up = self.kv_up.weight.view(self.n_heads, -1, self.kv_rank)
        k_up, v_up = torch.split(up, [self.nope_dim, self.v_dim], dim=1)  # (H, N, R) and (H, E_v, R)
        q = torch.cat((q_nope @ k_up, q_rope), dim=-1).transpose(1, 2)
        out, weights = attend(
            q, kept, kept[..., : self.kv_rank], mask, scale=self.scale, need_weights=need_weights
        )
        return out.transpose(1, 2) @ v_up.mT, None if weights is None else weights.transpose(1, 2)
