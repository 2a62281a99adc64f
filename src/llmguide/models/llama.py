r"""LLaMA: a decoder with rotary positions, RMSNorm before each sublayer, SwiGLU and no biases.

The same class is LLaMA 1 to 3.1, Mistral (sliding window), Mixtral (mixture of experts), Qwen2 (bias on
queries, keys and values) and Qwen3 (norms on queries and keys): they differ only in their `ModelConfig`.

$$x_0 = \text{token}[\text{ids}], \quad x_{l+1} = \text{Block}_l(x_l, \text{RoPE}), \quad
\text{logits} = \operatorname{norm}(x_L)\, W_\text{head}^\top$$

References: Touvron et al. 2023, arXiv:2302.13971, section 2.2; arXiv:2307.09288, section 2.2 (grouped-query
attention); Grattafiori et al. 2024, arXiv:2407.21783, section 3.2; Jiang et al. 2023, arXiv:2310.06825; Jiang
et al. 2024, arXiv:2401.04088; Yang et al. 2024, arXiv:2407.10671, section 2.2; Qwen team 2025,
arXiv:2505.09388, section 2.

Leaves out: layers that differ from each other.
"""

from typing import Any

from jaxtyping import Int
from torch import Tensor

from llmguide.config.model_config import ModelConfig
from llmguide.models.transformer_decoder import TransformerDecoder
from llmguide.nn.rope import rope_tables


class Llama(TransformerDecoder):
    """A decoder with rotary positions (RoPE).

    RoPE sets no limit: beyond ``context_length`` the model still runs, outside what it was trained on.

    Args:
        config: Any decoder with ``positions="rope"``.

    >>> import torch
    >>> config = ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3, n_kv_heads=1,
    ...                      positions="rope", norm="rmsnorm", activation="swiglu", bias=False)
    >>> model = Llama(config)
    >>> model(torch.tensor([[1, 2, 3, 4]])).shape  # (B, T, V)
    torch.Size([1, 4, 11])
    >>> sum(p.numel() for p in model.parameters()) == config.n_params()
    True
    """

    def __init__(self, config: ModelConfig):
        if config.positions != "rope" or config.architecture != "decoder" or config.n_token_types:
            raise ValueError(
                "Llama takes architecture='decoder' with RoPE and without token types; got "
                f"architecture={config.architecture!r}, positions={config.positions!r}, "
                f"n_token_types={config.n_token_types}; build(config) picks the class"
            )
        super().__init__(config)

    def position_inputs(self, positions: Int[Tensor, "*rows T"], T_q: int, T_k: int) -> dict[str, Any]:
        """Compute the rotation tables, which all layers share."""
        config = self.config
        return {"rope": rope_tables(positions, config.head_dim, config.rope_theta, config.rope_scaling)}
