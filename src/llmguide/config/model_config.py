"""The shape of a model: every size that its weights and its cost depend on.

One dataclass describes the decoders (GPT-2, LLaMA, Mistral, Mixtral, BLOOM, Qwen), the encoder (BERT) and the
2017 encoder-decoder. From it follow the exact number of parameters (here), FLOPs (`costs.scaling_laws`)
and bytes (`costs.memory`).

Leaves out: latent attention, layers that differ from each other, LayerNorm without bias.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from llmguide.config.rope_scaling import LongRopeScaling, RopeScaling

Architecture = Literal["decoder", "encoder", "encoder-decoder"]
Positions = Literal["learned", "sinusoidal", "rope", "alibi", "none"]
Norm = Literal["layernorm", "rmsnorm"]
NormPosition = Literal["pre", "post"]
Activation = Literal["gelu", "gelu_tanh", "relu", "swiglu"]

_DERIVED: Any = None  # the default of a field that follows from the others unless it is given


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    r"""Sizes and design choices of one model; fields that are not given are derived from the others.

    Use the method `replace` to change a config: it derives again, where `dataclasses.replace` would keep the
    old `head_dim` and `d_ff` beside a new `d_model`.

    Attributes:
        vocab_size: Entries of the vocabulary $V$.
        context_length: Tokens of the longest input trained on; a hard limit only for learned positions.
        n_layers: Number of blocks $L$; in an encoder-decoder, blocks of each stack.
        d_model: Width of the residual stream $D$.
        n_heads: Query heads $H$.
        n_kv_heads: Key/value heads $K$; $H$: multi-head, 1: multi-query, between: grouped-query (smaller KV
            cache). Derived: $H$.
        head_dim: Width of one head $E$; given where a model decouples it (Gemma 7B: 16 heads of 256, width
            3072). Derived: $D / H$.
        d_ff: Hidden width of the feed-forward layer $F$; SwiGLU has three matrices, so its models take about
            $8 D / 3$. Derived: $4 D$.
        architecture: Stacks that the model has.
        positions: Encoding of positions.
        rope_theta: Base of RoPE's rotation frequencies, above 0; longer contexts take a larger one.
        rope_scaling: Rule that stretches a trained RoPE to a longer context.
        norm: Normalization layer; layernorm has weight and bias, rmsnorm a weight only.
        norm_eps: Number above 0 added to the variance or mean square before the root.
        norm_position: Place of the norms; pre is stable without warmup and adds a final norm, post is BERT's.
        activation: Activation function of the feed-forward layer.
        bias: Whether linear layers have a bias; LLaMA drops it, and the output head never has one.
        qkv_bias: Whether queries, keys and values have a bias; Qwen2 keeps only these. Derived: `bias`.
        qk_norm: Whether an RMSNorm of each head's query and key bounds the scores (Qwen3), before RoPE.
        tie_embeddings: Whether the output head is the embedding matrix, which saves $V D$ parameters.
        embedding_norm: Whether a LayerNorm follows the embeddings (BERT, BLOOM).
        n_token_types: Number of segment embeddings (BERT: 2).
        pooler: Whether there is BERT's $D \times D$ layer on the first token.
        sliding_window: Number of tokens that a token attends to, itself included; None: no limit.
        n_full_layers: Number of first layers to which the sliding window does not apply (Qwen2).
        n_experts: Feed-forward layers that a block chooses from; 0: one dense layer.
        n_experts_per_token: Number of experts that a token visits.
        dropout: Dropout probability in [0, 1); a choice of training, so every preset leaves it at 0.

    >>> from llmguide import ModelConfig
    >>> config = ModelConfig(vocab_size=10, context_length=4, n_layers=1, d_model=8, n_heads=2)
    >>> config.head_dim, config.n_kv_heads, config.d_ff
    (4, 2, 32)
    >>> config.n_params()  # V D + T D + L (12 D^2 + 13 D) + 2 D = 80 + 32 + 872 + 16
    1000
    """

    vocab_size: int
    context_length: int
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int = _DERIVED
    head_dim: int = _DERIVED
    d_ff: int = _DERIVED
    architecture: Architecture = "decoder"
    positions: Positions = "learned"
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm: Norm = "layernorm"
    norm_eps: float = 1e-5
    norm_position: NormPosition = "pre"
    activation: Activation = "gelu"
    bias: bool = True
    qkv_bias: bool = _DERIVED
    qk_norm: bool = False
    tie_embeddings: bool = True
    embedding_norm: bool = False
    n_token_types: int = 0
    pooler: bool = False
    sliding_window: int | None = None
    n_full_layers: int = 0
    n_experts: int = 0
    n_experts_per_token: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Derive what was not given and reject sizes that fit no model."""
        for name in ("vocab_size", "context_length", "n_layers", "d_model", "n_heads"):
            self._require_positive(name)
        if self.head_dim is None and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model={self.d_model} is no multiple of n_heads={self.n_heads}; adapt one or set head_dim"
            )
        for name, value in self._derived().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)  # the dataclass is frozen to everybody else
        for name in ("n_kv_heads", "head_dim", "d_ff"):
            self._require_positive(name)
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads={self.n_heads} is no multiple of n_kv_heads={self.n_kv_heads}: "
                "each key/value head serves the same number of query heads"
            )
        self._check_choices()
        self._check_numbers()

    def _derived(self) -> dict[str, Any]:
        return {
            "n_kv_heads": self.n_heads,
            "head_dim": self.d_model // self.n_heads,
            "d_ff": 4 * self.d_model,
            "qkv_bias": self.bias,
        }

    def replace(self, **changes: Any) -> "ModelConfig":
        """Return a copy with some fields changed; sizes that follow from others follow the new ones.

        Args:
            **changes: New values of fields. A derived field that is not among them is derived again if it
                has its derived value now, and is kept if it was given another one.

        Returns:
            The new config.

        Raises:
            TypeError: If there is no such field.
            ValueError: If the sizes fit no model.

        >>> config = ModelConfig(vocab_size=10, context_length=4, n_layers=1, d_model=8, n_heads=2)
        >>> wider = config.replace(d_model=16)
        >>> wider.head_dim, wider.d_ff
        (8, 64)
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        following = {name for name, value in self._derived().items() if values[name] == value}
        return ModelConfig(**({name: values[name] for name in values.keys() - following} | changes))

    def _require_positive(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number of at least 1")

    def _check_choices(self) -> None:
        for name, kind in {
            "architecture": Architecture,
            "positions": Positions,
            "norm": Norm,
            "norm_position": NormPosition,
            "activation": Activation,
        }.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}={getattr(self, name)!r} must be one of {', '.join(get_args(kind))}")
        if self.positions == "rope" and self.head_dim % 2:
            raise ValueError(f"RoPE rotates pairs, so head_dim={self.head_dim} must be even")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(
                f"sinusoidal positions pair sine and cosine, so d_model={self.d_model} must be even"
            )
        if isinstance(self.rope_scaling, LongRopeScaling):
            sizes = len(self.rope_scaling.short_factors), len(self.rope_scaling.long_factors)
            if sizes != (self.head_dim // 2,) * 2:
                raise ValueError(
                    f"LongRoPE has {sizes} factors, but head_dim={self.head_dim} half as many pairs"
                )
        if self.positions != "rope" and self.rope_scaling is not None:
            raise ValueError(
                f"rope_scaling is given but positions={self.positions!r}: set positions='rope' or drop it"
            )
        if self.architecture != "encoder" and self.pooler:
            raise ValueError(f"pooler=True needs architecture='encoder', not {self.architecture!r}")

    def _check_numbers(self) -> None:
        if self.sliding_window is not None:
            self._require_positive("sliding_window")
        if not 0 <= self.n_full_layers <= (self.n_layers if self.sliding_window else 0):
            raise ValueError(
                f"n_full_layers={self.n_full_layers} must be between 0 and n_layers={self.n_layers}, and 0 "
                "without a sliding window"
            )
        if self.n_token_types < 0:
            raise ValueError(f"n_token_types={self.n_token_types} must be at least 0")
        if self.n_experts < 0 or not min(1, self.n_experts) <= self.n_experts_per_token <= self.n_experts:
            raise ValueError(
                f"n_experts_per_token={self.n_experts_per_token} must be between 1 and "
                f"n_experts={self.n_experts}; both are 0 in a dense model"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be in [0, 1)")
        for name in ("norm_eps", "rope_theta"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")

    def n_params(self) -> int:
        """Compute the exact number of parameters; a tied head counts once, an encoder has no head.

        >>> from llmguide import PRESETS
        >>> PRESETS["gpt2"].n_params(), PRESETS["llama-2-7b"].n_params()
        (124439808, 6738415616)
        """
        return sum(self.n_params_by_part().values())

    def n_active_params(self) -> int:
        """Compute the number of parameters active for one token: all but the experts it is not sent to.

        >>> from llmguide import PRESETS
        >>> PRESETS["mixtral-8x7b"].n_active_params()  # of 46,702,792,704
        12879925248
        """
        idle = self.n_experts - self.n_experts_per_token
        return self.n_params() - self._n_blocks() * idle * self._one_feed_forward()

    def n_params_by_part(self) -> dict[str, int]:
        """Compute the number of parameters of each part; their sum is `n_params()`, and missing parts are 0.

        >>> from llmguide import PRESETS
        >>> parts = PRESETS["gpt2"].n_params_by_part()
        >>> parts["token_embedding"], parts["attention"], parts["feed_forward"]  # 50257 x 768, ...
        (38597376, 28348416, 56669184)
        """
        d, norm = self.d_model, self._one_norm()
        stacks = 2 if self.architecture == "encoder-decoder" else 1
        untied = not self.tie_embeddings and self.architecture != "encoder"
        cross_layers = self.n_layers if self.architecture == "encoder-decoder" else 0
        layers = self._n_blocks()
        return {
            # tied, source, target and output share one matrix (Vaswani et al. 2017, section 3.4)
            "token_embedding": self.vocab_size * d * (stacks if untied else 1),
            "position_embedding": stacks * self.context_length * d * (self.positions == "learned"),
            "token_type_embedding": self.n_token_types * d,
            "embedding_norm": stacks * norm * self.embedding_norm,
            "attention": layers * self._one_attention(),
            "cross_attention": cross_layers * self._one_attention(),
            "feed_forward": layers * max(1, self.n_experts) * self._one_feed_forward(),
            "router": layers * self.n_experts * d,
            "norms": (2 * layers + cross_layers) * norm,
            "final_norm": stacks * norm * (self.norm_position == "pre"),
            "pooler": (d * d + d) * self.pooler,
            "head": self.vocab_size * d * untied,
        }

    def _n_blocks(self) -> int:
        return self.n_layers * (2 if self.architecture == "encoder-decoder" else 1)

    def _one_norm(self) -> int:
        return self.d_model * (2 if self.norm == "layernorm" else 1)

    def _one_attention(self) -> int:
        d, query, key_value = self.d_model, self.n_heads * self.head_dim, 2 * self.n_kv_heads * self.head_dim
        weights = d * (query + key_value) + query * d
        return (
            weights + self.qkv_bias * (query + key_value) + self.bias * d + self.qk_norm * 2 * self.head_dim
        )

    def _one_feed_forward(self) -> int:
        into = 2 if self.activation == "swiglu" else 1  # gate and up, or up alone
        return (into + 1) * self.d_model * self.d_ff + self.bias * (into * self.d_ff + self.d_model)
