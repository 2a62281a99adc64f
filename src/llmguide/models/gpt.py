r"""GPT-2: a decoder with learned positions, LayerNorm before each sublayer, tanh GELU and a tied output head.

The same class is BLOOM, with ALiBi instead of a position table and a LayerNorm after the embeddings, and
GPT-1, with ``norm_position="post"``.

$$x_0 = \text{token}[\text{ids}] + \text{position}[0..T{-}1], \quad x_{l+1} = \text{Block}_l(x_l), \quad
\text{logits} = \operatorname{norm}(x_L)\, \text{token}^\top$$

References: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3; Radford
et al. 2018, "Improving language understanding by generative pre-training", section 4.1 (deviation 0.02); Le
Scao et al. 2022, arXiv:2211.05100, section 3.2 (BLOOM). Press and Wolf 2016, arXiv:1608.05859 (tied head).

`llmguide.models.minimal_gpt` is the same model on one page, without options: read it first.

Leaves out: the alternating sparse attention of GPT-3.
"""

from math import sqrt
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.models.transformer_decoder import TransformerDecoder
from llmguide.nn.positions import alibi_bias, sinusoidal_positions


class GPT(TransformerDecoder):
    """A decoder whose positions are added to the embeddings (learned, sinusoidal) or to the scores (ALiBi).

    Args:
        config: Any decoder without RoPE.

    >>> import torch
    >>> config = ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3)
    >>> model = GPT(config)
    >>> model(torch.tensor([[1, 2, 3, 4]])).shape  # (B, T, V)
    torch.Size([1, 4, 11])
    >>> sum(p.numel() for p in model.parameters()) == config.n_params()
    True
    """

    def __init__(self, config: ModelConfig):
        if config.positions == "rope" or config.architecture != "decoder" or config.n_token_types:
            raise ValueError(
                "GPT takes architecture='decoder' without RoPE and token types; got "
                f"architecture={config.architecture!r}, positions={config.positions!r}, "
                f"n_token_types={config.n_token_types}; build(config) picks the class"
            )
        super().__init__(config)
        # Each block adds two sublayers to the residual stream. Dividing their output weights by the root of
        # their number keeps the variance of the stream from growing with depth (GPT-2, section 2.3).
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down.weight")):
                nn.init.normal_(weight, std=0.02 / sqrt(2 * config.n_layers))

    def embed(self, ids: Int[Tensor, "B T"], positions: Int[Tensor, "*rows T"]) -> Float[Tensor, "B T D"]:
        """Add the embeddings of tokens and positions."""
        x = super().embed(ids, positions)
        if self.positions is not None:
            x = x + self.positions(positions)
        elif self.config.positions == "sinusoidal":
            x = x + sinusoidal_positions(positions, self.config.d_model).to(x.dtype)
        return x

    def position_inputs(self, positions: Int[Tensor, "*rows T"], T_q: int, T_k: int) -> dict[str, Any]:
        """Compute the bias of ALiBi."""
        if self.config.positions != "alibi":
            return {}
        return {"bias": alibi_bias(self.config.n_heads, T_q, T_k, device=positions.device)}
