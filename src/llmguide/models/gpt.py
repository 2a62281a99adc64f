r"""GPT-2: a decoder with learned positions, LayerNorm before each sublayer, tanh GELU and a tied output head.

The same class is BLOOM, with ALiBi instead of a position table and a LayerNorm after the embeddings, and
GPT-1, with ``norm_position="post"``.

$$x_0 = \text{token}[\text{ids}] + \text{position}[0..T{-}1], \quad x_{l+1} = \text{Block}_l(x_l), \quad
\text{logits} = \operatorname{norm}(x_L)\, \text{token}^\top$$

References: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3; Radford
et al. 2018, "Improving language understanding by generative pre-training", section 4.1 (deviation 0.02); Le
Scao et al. 2022, arXiv:2211.05100, section 3.2 (BLOOM). Press and Wolf 2016, arXiv:1608.05859 (tied head).

Leaves out: the alternating sparse attention of GPT-3.
"""

from math import sqrt

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.config import ModelConfig
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
from llmguide.nn.positions import LearnedPositions, alibi_bias, sinusoidal_positions


class GPT(nn.Module):
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
        super().__init__()
        if config.positions == "rope" or config.architecture != "decoder" or config.n_token_types:
            raise ValueError(
                "GPT takes architecture='decoder' without RoPE and token types; got "
                f"architecture={config.architecture!r}, positions={config.positions!r}, "
                f"n_token_types={config.n_token_types}; build(config) picks the class"
            )
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        is_learned = config.positions == "learned"
        self.positions = LearnedPositions(config.context_length, config.d_model) if is_learned else None
        self.embedding_norm = make_norm(config) if config.embedding_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = make_norm(config) if config.norm_position == "pre" else nn.Identity()
        is_tied = config.tie_embeddings
        self.head = None if is_tied else Linear(config.d_model, config.vocab_size, bias=False)

        # Each block adds two sublayers to the residual stream. Dividing their output weights by the root of
        # their number keeps the variance of the stream from growing with depth (GPT-2, section 2.3).
        init_normal(self, std=0.02)
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down.weight")):
                nn.init.normal_(weight, std=0.02 / sqrt(2 * config.n_layers))

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
            positions: Positions of the tokens; None counts the real tokens before each.
            cache: Keys and values of earlier tokens; the new ones are added.
            document_ids: For rows packed with several documents, each contiguous: the document that each
                token belongs to. Attention stays inside a document, and positions restart at 0 with each.
                Not with a cache.

        Returns:
            Logits.

        Raises:
            ValueError: If an id is outside the vocabulary, a position beyond the learned ones, or the
                attention mask does not cover all tokens, or document_ids come with a cache.
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
        x = look_up(self.tokens, ids)
        if self.positions is not None:
            x = x + self.positions(positions)
        elif self.config.positions == "sinusoidal":
            x = x + sinusoidal_positions(positions, self.config.d_model).to(x.dtype)
        x = F.dropout(self.embedding_norm(x), self.config.dropout, self.training)

        bias = None
        if self.config.positions == "alibi":
            T_k = n_visible_keys(cache, ids.shape[1])
            bias = alibi_bias(self.config.n_heads, ids.shape[1], T_k, device=ids.device)
        for i, block in enumerate(self.blocks):
            x = block(x, mask=mask, bias=bias, is_causal=document_ids is None, cache=cache, layer=i)
        out: Tensor = self.final_norm(x)
        return out

    def unembed(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Turn hidden states into logits."""
        return linear(hidden, (self.tokens if self.head is None else self.head).weight)
