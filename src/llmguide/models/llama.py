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

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.config import ModelConfig
from llmguide.models.inputs import (
    AttentionMask,
    DocumentIds,
    init_normal,
    look_up,
    token_positions,
    visible_keys,
)
from llmguide.nn._linear import Linear, linear
from llmguide.nn.block import Block
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.norms import make_norm
from llmguide.nn.positions import rope_tables


class Llama(nn.Module):
    """A decoder whose positions rotate queries and keys.

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
        super().__init__()
        if config.positions != "rope" or config.architecture != "decoder" or config.n_token_types:
            raise ValueError(
                "Llama takes architecture='decoder' with RoPE and without token types; got "
                f"architecture={config.architecture!r}, positions={config.positions!r}, "
                f"n_token_types={config.n_token_types}; build(config) picks the class"
            )
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.embedding_norm = make_norm(config) if config.embedding_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = make_norm(config) if config.norm_position == "pre" else nn.Identity()
        is_tied = config.tie_embeddings
        self.head = None if is_tied else Linear(config.d_model, config.vocab_size, bias=False)
        init_normal(self, std=0.02)  # the papers do not say; this is the deviation in transformers

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        *,
        attention_mask: AttentionMask | None = None,
        positions: Int[Tensor, "*rows T"] | None = None,
        cache: KVCache | None = None,
        document_ids: DocumentIds | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Score every token of the vocabulary as the one that follows each position.

        RoPE sets no limit: beyond ``context_length`` the model still runs, outside what it was trained on.

        Args:
            ids: Token ids, 0 to V - 1; with a cache, those that are not in it yet.
            attention_mask: 1 for real tokens and 0 for padding, over the cached and the new tokens. The
                logits of padding mean nothing.
            positions: Positions of the tokens; None counts the real tokens before each.
            cache: Keys and values of earlier tokens; the new ones are added.
            document_ids: For rows packed with several documents, each contiguous: the document that each
                token belongs to. Attention stays inside a document, and positions restart at 0 with each.
                Not with a cache.

        Returns:
            Logits.

        Raises:
            ValueError: If an id is outside the vocabulary, the attention mask does not cover all tokens, or
                document_ids come with a cache.
        """
        hidden = self.hidden(
            ids, attention_mask=attention_mask, positions=positions, cache=cache, document_ids=document_ids
        )
        return self.unembed(hidden)

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        *,
        attention_mask: AttentionMask | None = None,
        positions: Int[Tensor, "*rows T"] | None = None,
        cache: KVCache | None = None,
        document_ids: DocumentIds | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Compute the last hidden states, after the final norm; the arguments are those of the model."""
        counted = token_positions(ids, attention_mask, cache, document_ids)
        positions = counted if positions is None else positions
        mask = visible_keys(attention_mask, cache, ids.shape[1], document_ids)
        x = self.embedding_norm(look_up(self.tokens, ids))
        x = F.dropout(x, self.config.dropout, self.training)

        rope = rope_tables(
            positions, self.config.head_dim, self.config.rope_theta, self.config.rope_scaling
        )  # shared by all layers
        for i, block in enumerate(self.blocks):
            x = block(x, mask=mask, is_causal=document_ids is None, rope=rope, cache=cache, layer=i)
        out: Tensor = self.final_norm(x)
        return out

    def unembed(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Turn hidden states into logits."""
        return linear(hidden, (self.tokens if self.head is None else self.head).weight)
