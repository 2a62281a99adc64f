r"""One layer of a Transformer: attention and feed-forward, each with its norm and residual connection.

Each sublayer $f$ adds its output to the residual stream. Pre-norm (GPT-2, LLaMA) normalizes its input,
$x + f(\operatorname{norm}(x))$, which leaves a path of plain sums from the output to the input. Post-norm
(2017, BERT) normalizes the sum, $\operatorname{norm}(x + f(x))$.

Reference: Xiong et al. 2020, arXiv:2002.04745, figure 1 (where the norm is placed).

Glossary: ``B`` batch, ``T`` tokens, ``D`` model width.
"""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.nn.feed_forward import FeedForward
from llmguide.nn.mixture_of_experts import MixtureOfExperts
from llmguide.nn.multi_head_attention import MultiHeadAttention
from llmguide.nn.norms import make_norm


class Block(nn.Module):
    """One layer of a decoder or encoder: self-attention, then a feed-forward layer or a mixture of experts.

    Args:
        config: Model configuration; reads ``norm_position``, ``dropout`` and the fields of its sublayers.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm_position = config.norm_position
        self.attention_norm = make_norm(config)
        self.attention = MultiHeadAttention(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = MixtureOfExperts(config) if config.n_experts else FeedForward(config)
        self.dropout = config.dropout

    def forward(self, x: Float[Tensor, "B T D"], **attention_inputs: Any) -> Float[Tensor, "B T D"]:
        """Apply both sublayers to the residual stream.

        Args:
            x: Residual stream.
            attention_inputs: Mask, bias, RoPE tables and cache, as in `MultiHeadAttention`.
        """
        if self.norm_position == "pre":
            x = x + self.attend(self.attention_norm(x), **attention_inputs)
            return x + self.feed(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attend(x, **attention_inputs))
        out: Tensor = self.feed_forward_norm(x + self.feed(x))
        return out

    def attend(self, x: Float[Tensor, "B T D"], **attention_inputs: Any) -> Float[Tensor, "B T D"]:
        """Apply self-attention and dropout."""
        out, _ = self.attention(x, **attention_inputs)
        return F.dropout(out, self.dropout, self.training)

    def feed(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Apply the feed-forward layer and dropout."""
        return F.dropout(self.feed_forward(x), self.dropout, self.training)
