r"""The Transformer of 2017: an encoder reads the source, a decoder writes the target and looks back at it.

The decoder is that of GPT-2 with one more sublayer, cross attention: queries come from the target, keys and
values from the encoded source, called memory here.

Reference: Vaswani et al. 2017, arXiv:1706.03762, sections 3.1 to 3.5. Leaves out: label smoothing.

Where it differs: `torch.nn.Transformer` ends each stack in one more LayerNorm, which the paper does not have;
with ``norm_position="pre"`` both have it.

Glossary: ``S`` tokens of the source, ``T`` tokens of the target (new ones, with a cache), ``T_all`` all of
them.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.models.inputs import AttentionMask, look_up, token_positions, visible_keys
from llmguide.nn._linear import Linear, linear
from llmguide.nn.block import Block
from llmguide.nn.feed_forward import FeedForward
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.mixture_of_experts import MixtureOfExperts
from llmguide.nn.multi_head_attention import MultiHeadAttention
from llmguide.nn.norms import make_norm
from llmguide.nn.positions import LearnedPositions, sinusoidal_positions

SourceMask = Int[Tensor, "B S"] | Bool[Tensor, "B S"]


class DecoderBlock(nn.Module):
    """One layer of the decoder: self-attention, cross attention, feed-forward.

    Args:
        config: Hyperparameters of the block, as of `llmguide.nn.block.Block`.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm_position = config.norm_position
        self.dropout = config.dropout
        self.attention_norm = make_norm(config)
        self.attention = MultiHeadAttention(config)
        self.cross_attention_norm = make_norm(config)
        self.cross_attention = MultiHeadAttention(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = MixtureOfExperts(config) if config.n_experts else FeedForward(config)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        memory_mask: Bool[Tensor, "..."] | None = None,
        cache: KVCache | None = None,
        memory_cache: KVCache | None = None,
        layer: int = 0,
    ) -> Float[Tensor, "B T D"]:
        """Update the residual stream of the target; the masks say which positions are real."""
        own = {"mask": mask, "is_causal": True, "cache": cache, "layer": layer}
        cross = {"context": memory, "mask": memory_mask, "cache": memory_cache, "layer": layer}
        if self.norm_position == "pre":
            x = x + self._dropped(self.attention(self.attention_norm(x), **own)[0])
            x = x + self._dropped(self.cross_attention(self.cross_attention_norm(x), **cross)[0])
            return x + self._dropped(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self._dropped(self.attention(x, **own)[0]))
        x = self.cross_attention_norm(x + self._dropped(self.cross_attention(x, **cross)[0]))
        out: Tensor = self.feed_forward_norm(x + self._dropped(self.feed_forward(x)))
        return out

    def _dropped(self, out: Tensor) -> Tensor:
        return F.dropout(out, self.dropout, self.training)


class Transformer(nn.Module):
    """Encoder and decoder; with tied embeddings source, target and head share one matrix (section 3.4).

    Args:
        config: Any encoder-decoder with sinusoidal, learned or no positions.

    >>> import torch
    >>> config = ModelConfig(architecture="encoder-decoder", vocab_size=11, context_length=8,
    ...                      n_layers=2, d_model=12, n_heads=3, positions="sinusoidal", norm_position="post")
    >>> model = Transformer(config)
    >>> model(torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[6, 7]])).shape  # (B, T, V)
    torch.Size([1, 2, 11])
    >>> sum(p.numel() for p in model.parameters()) == config.n_params()
    True
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        unsupported = config.positions in ("rope", "alibi") or config.sliding_window or config.n_token_types
        if config.architecture != "encoder-decoder" or unsupported:
            raise ValueError(
                "Transformer takes architecture='encoder-decoder' without RoPE, ALiBi, sliding window and "
                f"token types; got architecture={config.architecture!r}, positions={config.positions!r}, "
                f"sliding_window={config.sliding_window}, n_token_types={config.n_token_types}"
            )
        self.config = config
        is_tied, is_learned = config.tie_embeddings, config.positions == "learned"
        V, D = config.vocab_size, config.d_model
        self.target_tokens = nn.Embedding(V, D)
        self.source_tokens = None if is_tied else nn.Embedding(V, D)
        self.head = None if is_tied else Linear(D, V, bias=False)

        def learned() -> LearnedPositions | None:
            return LearnedPositions(config.context_length, D) if is_learned else None

        def norm_if(wanted: bool) -> nn.Module:
            return make_norm(config) if wanted else nn.Identity()

        self.source_positions, self.target_positions = learned(), learned()
        self.source_embedding_norm = norm_if(config.embedding_norm)
        self.target_embedding_norm = norm_if(config.embedding_norm)
        self.encoder_blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.encoder_norm = norm_if(config.norm_position == "pre")
        self.decoder_blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_layers))
        self.decoder_norm = norm_if(config.norm_position == "pre")

        # The paper does not say. Matrices are sampled as in torch.nn.Transformer, embeddings of variance 1/D,
        # which their factor sqrt(D) brings to 1, the scale of the sines that are added to them.
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=D**-0.5)

    def forward(
        self,
        source: Int[Tensor, "B S"],
        target: Int[Tensor, "B T"],
        *,
        source_mask: SourceMask | None = None,
        target_mask: AttentionMask | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Score every token of the vocabulary as the one that follows each target position.

        Args:
            source: Token ids to read.
            target: Token ids written so far, in training the wanted text after a start token.
            source_mask: 1 for real tokens of the source and 0 for padding.
            target_mask: The same for the target.

        Returns:
            Logits.

        Raises:
            ValueError: If an id is outside the vocabulary or a mask has the wrong shape.
        """
        memory = self.encode(source, source_mask=source_mask)
        return self.unembed(self.decode(target, memory, source_mask=source_mask, target_mask=target_mask))

    def encode(
        self, source: Int[Tensor, "B S"], *, source_mask: SourceMask | None = None
    ) -> Float[Tensor, "B S D"]:
        """Read the source; the result is the memory of `decode`."""
        positions = token_positions(source, source_mask, None)
        tokens = self.target_tokens if self.source_tokens is None else self.source_tokens
        x = self._embed(tokens, self.source_positions, source, positions)
        x = F.dropout(self.source_embedding_norm(x), self.config.dropout, self.training)
        mask = visible_keys(source_mask, None, source.shape[1])
        for block in self.encoder_blocks:
            x = block(x, mask=mask)
        out: Tensor = self.encoder_norm(x)
        return out

    def decode(
        self,
        target: Int[Tensor, "B T"],
        memory: Float[Tensor, "B S D"],
        *,
        source_mask: SourceMask | None = None,
        target_mask: AttentionMask | None = None,
        cache: KVCache | None = None,
        memory_cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Compute the last hidden states of the target.

        Args:
            target: Token ids; with a cache, those that are not in it yet.
            memory: Hidden states of the source, from `encode`.
            source_mask: 1 for real tokens of the source and 0 for padding; None: there is no padding.
            target_mask: 1 for real tokens and 0 for padding, over the cached and the new target tokens.
            cache: Keys and values of earlier target tokens; the new ones are added.
            memory_cache: Keys and values of the memory, computed in the first call and reused in later ones.

        Returns:
            Hidden states, for `unembed`.
        """
        positions = token_positions(target, target_mask, cache)
        x = self._embed(self.target_tokens, self.target_positions, target, positions)
        x = F.dropout(self.target_embedding_norm(x), self.config.dropout, self.training)
        mask = visible_keys(target_mask, cache, target.shape[1])
        memory_mask = visible_keys(source_mask, None, memory.shape[1])
        for i, block in enumerate(self.decoder_blocks):
            x = block(
                x,
                memory,
                mask=mask,
                memory_mask=memory_mask,
                cache=cache,
                memory_cache=memory_cache,
                layer=i,
            )
        out: Tensor = self.decoder_norm(x)
        return out

    def unembed(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Turn hidden states of the target into logits."""
        return linear(hidden, self.target_tokens.weight) if self.head is None else self.head(hidden)

    def _embed(
        self, tokens: nn.Embedding, table: LearnedPositions | None, ids: Tensor, positions: Tensor
    ) -> Tensor:
        """Embed tokens, scaled by sqrt(D) (section 3.4), and add their positions."""
        x = look_up(tokens, ids) * sqrt(self.config.d_model)
        if table is not None:
            x = x + table(positions)
        elif self.config.positions == "sinusoidal":
            x = x + sinusoidal_positions(positions, self.config.d_model).to(x.dtype)
        return x


class EncodedSource:
    """A `Transformer` that has read its sources: a model of the target alone, like a decoder.

    The sources are encoded once, without a graph for gradients, and so are their keys and values in the first
    call that has a cache.

    Args:
        model: The model, in evaluation mode.
        source: Token ids to read.
        source_mask: 1 for real tokens of the source and 0 for padding, on any side.

    >>> config = ModelConfig(architecture="encoder-decoder", vocab_size=11, context_length=8,
    ...                      n_layers=2, d_model=12, n_heads=3, positions="sinusoidal", norm_position="post")
    >>> model, source, target = Transformer(config), torch.tensor([[1, 2, 3]]), torch.tensor([[6, 7]])
    >>> torch.equal(EncodedSource(model, source)(target), model(source, target))
    True
    """

    @torch.no_grad()
    def __init__(self, model: Transformer, source: Int[Tensor, "B S"], source_mask: SourceMask | None = None):
        self.model, self.config = model, model.config
        self.memory, self.source_mask = model.encode(source, source_mask=source_mask), source_mask
        self.memory_cache = KVCache(model.config.n_layers)

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""
        return self.model.training

    def __call__(
        self, ids: Int[Tensor, "B T"], *, attention_mask: AttentionMask | None = None
    ) -> Float[Tensor, "B T V"]:
        """Score the tokens of the target, as `Transformer` does."""
        return self.unembed(self.hidden(ids, attention_mask=attention_mask))

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        *,
        attention_mask: AttentionMask | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Compute the last hidden states of the target, as `Transformer.decode` does."""
        return self.model.decode(
            ids,
            self.memory,
            source_mask=self.source_mask,
            target_mask=attention_mask,
            cache=cache,
            memory_cache=None if cache is None else self.memory_cache,
        )

    def unembed(self, hidden: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch V"]:
        """Turn hidden states of the target into logits."""
        return self.model.unembed(hidden)

    def reorder(self, rows: Int[Tensor, " B_new"]) -> None:
        """Replace the sources by rows of them, which may repeat, as `KVCache.reorder` does."""
        self.memory = self.memory.index_select(0, rows)
        if self.source_mask is not None:
            self.source_mask = self.source_mask.index_select(0, rows)
        self.memory_cache.reorder(rows)
