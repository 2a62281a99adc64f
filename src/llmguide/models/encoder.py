r"""BERT: an encoder in which every token sees every other, and its masked-language-model head.

An encoder has no causal mask, so it cannot generate; it is trained to restore masked tokens and yields one
vector for each token. BERT differs from GPT-2 in the norm (after each sublayer, and after the embeddings),
the exact GELU and the token types that tell two segments apart.

References: Devlin et al. 2018, arXiv:1810.04805, section 3 and appendix A.2; the transform before the head is
in the authors' code only.

Leaves out: the next-sentence head.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.models.inputs import AttentionMask, init_normal, look_up, token_positions, visible_keys
from llmguide.nn._linear import Linear, linear
from llmguide.nn.block import Block
from llmguide.nn.feed_forward import activate
from llmguide.nn.norms import make_norm
from llmguide.nn.positions import LearnedPositions, sinusoidal_positions


class Encoder(nn.Module):
    """A stack of blocks without a causal mask.

    Args:
        config: Any encoder with learned, sinusoidal or no positions.

    >>> config = ModelConfig(architecture="encoder", vocab_size=11, context_length=8, n_layers=2,
    ...                      d_model=12, n_heads=3, embedding_norm=True, norm_position="post",
    ...                      n_token_types=2, pooler=True)
    >>> encoder = Encoder(config)
    >>> hidden = encoder(torch.tensor([[1, 2, 3, 4]]))
    >>> hidden.shape, encoder.pool(hidden).shape  # (B, T, D) and (B, D)
    (torch.Size([1, 4, 12]), torch.Size([1, 12]))
    >>> sum(p.numel() for p in encoder.parameters()) == config.n_params()
    True
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        if config.architecture != "encoder" or config.positions in ("rope", "alibi") or config.sliding_window:
            raise ValueError(
                "Encoder takes architecture='encoder' without RoPE, ALiBi and sliding window; got "
                f"architecture={config.architecture!r}, positions={config.positions!r}, "
                f"sliding_window={config.sliding_window}"
            )
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        is_learned = config.positions == "learned"
        self.positions = LearnedPositions(config.context_length, config.d_model) if is_learned else None
        n_types = config.n_token_types
        self.token_types = nn.Embedding(n_types, config.d_model) if n_types else None
        self.embedding_norm = make_norm(config) if config.embedding_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = make_norm(config) if config.norm_position == "pre" else nn.Identity()
        self.pooler = Linear(config.d_model, config.d_model) if config.pooler else None
        init_normal(self, std=0.02)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        *,
        attention_mask: AttentionMask | None = None,
        token_types: Int[Tensor, "B T"] | None = None,
        positions: Int[Tensor, "*rows T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Turn each token into a vector that depends on the whole text.

        Args:
            ids: Token ids, 0 to V - 1.
            attention_mask: 1 for real tokens and 0 for padding. The vectors of padding mean nothing.
            token_types: Segment of each token; None means 0 everywhere.
            positions: Positions of the tokens; None: 0 to T - 1. As in transformers, this counts padding, so
                put it at the end.

        Returns:
            The last hidden states.

        Raises:
            ValueError: If an id or token type is outside its table, a position beyond the learned ones, or
                token types are given to a model without them.
        """
        token_positions(ids, attention_mask, None)  # checks the shapes
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)
        x = look_up(self.tokens, ids)
        if self.positions is not None:
            x = x + self.positions(positions)
        elif self.config.positions == "sinusoidal":
            x = x + sinusoidal_positions(positions, self.config.d_model).to(x.dtype)
        if self.token_types is not None:
            types = torch.zeros_like(ids) if token_types is None else token_types
            x = x + look_up(self.token_types, types, what="token type")
        elif token_types is not None:
            raise ValueError("token_types given to a model with n_token_types=0; leave them out")
        x = F.dropout(self.embedding_norm(x), self.config.dropout, self.training)

        mask = visible_keys(attention_mask, None, ids.shape[1])
        for block in self.blocks:
            x = block(x, mask=mask)
        out: Tensor = self.final_norm(x)
        return out

    def pool(self, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B D"]:
        """Summarize a text by its first token, through a layer and tanh (BERT's next-sentence input).

        Raises:
            ValueError: If the config has no pooler.
        """
        if self.pooler is None:
            raise ValueError("the config says pooler=False; build the model with pooler=True")
        return torch.tanh(self.pooler(hidden[:, 0]))


class MaskedLM(nn.Module):
    """An `Encoder` and the head that scores the vocabulary at each position.

    Args:
        config: Any config of an `Encoder`. The head adds ``D * D + 3 D + V`` parameters to it (``V * D`` more
            if untied), which `ModelConfig.n_params` does not count.

    >>> config = ModelConfig(architecture="encoder", vocab_size=11, context_length=8, n_layers=2, d_model=12,
    ...                      n_heads=3, norm_position="post", embedding_norm=True, n_token_types=2)
    >>> model = MaskedLM(config)
    >>> model(torch.tensor([[1, 2, 3, 4]])).shape  # (B, T, V)
    torch.Size([1, 4, 11])
    >>> sum(p.numel() for p in model.parameters()) - config.n_params()  # 144 + 36 + 11
    191
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.transform = Linear(config.d_model, config.d_model)
        self.transform_norm = make_norm(config)
        is_tied = config.tie_embeddings
        self.head = None if is_tied else Linear(config.d_model, config.vocab_size, bias=False)
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size))
        init_normal(self, std=0.02)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        *,
        attention_mask: AttentionMask | None = None,
        token_types: Int[Tensor, "B T"] | None = None,
        positions: Int[Tensor, "*rows T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Score every token of the vocabulary at each position; the arguments are those of `Encoder`."""
        hidden = self.encoder(
            ids, attention_mask=attention_mask, token_types=token_types, positions=positions
        )
        activation = "gelu" if self.config.activation == "swiglu" else self.config.activation
        hidden = self.transform_norm(activate(self.transform(hidden), activation))
        head = self.encoder.tokens if self.head is None else self.head
        return linear(hidden, head.weight, self.head_bias)
