"""The decoder that `GPT` and `Llama` share: embed the tokens, pass all blocks, norm, and score every token.

They differ in how tokens learn their place, which each class adds: to the embeddings, to the attention
scores, or as a rotation of queries and keys.
"""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.models.inputs import (
    AttentionMask,
    DocumentIds,
    init_normal,
    look_up,
    n_visible_keys,
    token_positions,
    visible_keys,
)
from llmguide.nn._linear import Linear, linear
from llmguide.nn.block import Block
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.norms import make_norm
from llmguide.nn.positions import LearnedPositions


class TransformerDecoder(nn.Module):
    """Blocks of causal attention between an embedding and an output head; `build` picks the class.

    Args:
        config: Sizes and choices of a decoder.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        is_learned = config.positions == "learned"
        self.positions = LearnedPositions(config.context_length, config.d_model) if is_learned else None
        self.embedding_norm = make_norm(config) if config.embedding_norm else nn.Identity()
        full = config.replace(sliding_window=None, n_full_layers=0)
        self.blocks = nn.ModuleList(
            Block(full if i < config.n_full_layers else config) for i in range(config.n_layers)
        )
        self.final_norm = make_norm(config) if config.norm_position == "pre" else nn.Identity()
        is_tied = config.tie_embeddings
        self.head = None if is_tied else Linear(config.d_model, config.vocab_size, bias=False)
        init_normal(self, std=0.02)  # GPT, section 4.1; LLaMA's papers do not say, transformers does the same

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

        Args:
            ids: Token ids, 0 to V - 1; with a cache, those that are not in it yet.
            attention_mask: 1 for real tokens and 0 for padding, over the cached and the new tokens. The
                logits of padding mean nothing.
            positions: Positions of the tokens; None counts the real tokens before each. ALiBi, whose bias
                depends on distances in the row, ignores them.
            cache: Keys and values of earlier tokens; the new ones are added.
            document_ids: Id of each token's document, in rows packed with several contiguous documents.
                Attention stays inside a document, and positions restart at 0 with each. Not with a cache.

        Returns:
            Logits.

        Raises:
            ValueError: If an id is outside the vocabulary, a position beyond the learned ones, the attention
                mask does not cover all tokens, or `document_ids` come with a cache.
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
        x = self.embedding_norm(self.embed(ids, positions))
        x = F.dropout(x, self.config.dropout, self.training)
        position_inputs = self.position_inputs(positions, ids.shape[1], n_visible_keys(cache, ids.shape[1]))
        for i, block in enumerate(self.blocks):
            x = block(x, mask=mask, is_causal=document_ids is None, cache=cache, layer=i, **position_inputs)
        out: Tensor = self.final_norm(x)
        return out

    def embed(self, ids: Int[Tensor, "B T"], positions: Int[Tensor, "*rows T"]) -> Float[Tensor, "B T D"]:
        """Look up the embeddings of tokens at some positions."""
        return look_up(self.tokens, ids)

    def position_inputs(self, positions: Int[Tensor, "*rows T"], T_q: int, T_k: int) -> dict[str, Any]:
        """Compute the position arguments of every block's attention; none here."""
        return {}

    def unembed(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Turn hidden states into logits."""
        return linear(hidden, self.tokens.weight) if self.head is None else self.head(hidden)
