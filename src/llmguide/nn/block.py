r"""One layer of a Transformer: attention and feed-forward, each with its norm and residual connection.

Reference: Xiong et al. 2020, arXiv:2002.04745 (where the norm is placed).

Glossary: ``B`` batch, ``T`` tokens, ``D`` model width.
"""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmguide.config import ModelConfig
from llmguide.nn.attention import MultiHeadAttention
from llmguide.nn.feed_forward import FeedForward
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.mixture_of_experts import MixtureOfExperts
from llmguide.nn.norms import make_norm


def residual(
    x: Float[Tensor, "B T D"],
    sublayer: Callable[[Tensor], Tensor],
    norm: Callable[[Tensor], Tensor],
    *,
    norm_position: str,
) -> Float[Tensor, "B T D"]:
    r"""Add a sublayer to the residual stream, normalizing before it or after the sum.

    Pre-norm (GPT-2, LLaMA): $x + f(\operatorname{norm}(x))$, which leaves a path of plain sums from the
    output to the input. Post-norm (2017, BERT): $\operatorname{norm}(x + f(x))$. arXiv:2002.04745, figure 1.

    Args:
        x: The residual stream.
        sublayer: Attention or feed-forward.
        norm: The norm that belongs to it.
        norm_position: ``pre`` or ``post``.

    Returns:
        The residual stream after the sublayer.

    >>> import torch
    >>> x = torch.full((1, 1, 1), 3.0)
    >>> double, halve = lambda x: 2 * x, lambda x: x / 2  # sublayer and norm
    >>> residual(x, double, halve, norm_position="pre").item()  # 3 + 2 (3 / 2)
    6.0
    >>> residual(x, double, halve, norm_position="post").item()  # (3 + 6) / 2
    4.5
    """
    if norm_position == "pre":
        return x + sublayer(norm(x))
    return norm(x + sublayer(x))


class Block(nn.Module):
    """One layer of a decoder or encoder: self-attention, then a feed-forward layer or a mixture of experts.

    Args:
        config: Reads the fields that its parts read, ``norm_position`` and ``dropout``.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm_position = config.norm_position
        self.attention_norm = make_norm(config)
        self.attention = MultiHeadAttention(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = MixtureOfExperts(config) if config.n_experts else FeedForward(config)
        self.dropout = config.dropout

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        bias: Float[Tensor, "..."] | None = None,
        is_causal: bool = False,
        rope: tuple[Tensor, Tensor] | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Float[Tensor, "B T D"]:
        """Update the residual stream; the arguments after ``x`` go to `MultiHeadAttention`."""

        def attend(x: Tensor) -> Tensor:
            out, _ = self.attention(
                x, mask=mask, bias=bias, is_causal=is_causal, rope=rope, cache=cache, layer=layer
            )
            return F.dropout(out, self.dropout, self.training)

        def feed_forward(x: Tensor) -> Tensor:
            return F.dropout(self.feed_forward(x), self.dropout, self.training)

        x = residual(x, attend, self.attention_norm, norm_position=self.norm_position)
        return residual(x, feed_forward, self.feed_forward_norm, norm_position=self.norm_position)
