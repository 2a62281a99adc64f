"""What generation, training and evaluation need of a decoder-only language model."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from llmguide.config.model_config import ModelConfig
from llmguide.models.inputs import AttentionMask
from llmguide.nn.kv_cache import KVCache


@runtime_checkable
class Decoder(Protocol):
    """The methods and attributes of a decoder that `llmguide.generate` and the likelihoods call.

    `llmguide.models.gpt.GPT`, `llmguide.models.llama.Llama` and
    `llmguide.models.encoder_decoder.EncodedSource` have them; a model of your own that has them can
    take their place.

    >>> from llmguide import Decoder, ModelConfig, build
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3))
    >>> isinstance(model, Decoder)
    True
    """

    @property
    def config(self) -> ModelConfig:
        """Hyperparameters: sizes, positions, sliding window and dropout are read from it."""

    @property
    def training(self) -> bool:
        """Whether the model is in training mode, in which dropout is active."""

    def __call__(
        self, ids: Int[Tensor, "B T"], /, *, attention_mask: AttentionMask | None = None
    ) -> Float[Tensor, "B T V"]:
        """Compute the logits of the token after each position.

        Args:
            ids: Token ids, 0 to V - 1.
            attention_mask: 1 for real tokens and 0 for padding; None: there is no padding.
        """

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        /,
        *,
        attention_mask: AttentionMask | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Compute the last hidden states, after the final norm.

        Args:
            ids: Token ids, 0 to V - 1; with a cache, those that are not in it yet.
            attention_mask: 1 for real tokens and 0 for padding, over the cached and the new tokens.
            cache: Keys and values of earlier tokens; those of the new tokens are appended.
        """

    def unembed(self, hidden: Float[Tensor, "*batch D"], /) -> Float[Tensor, "*batch V"]:
        """Compute logits from last hidden states."""


def require_own(model: object) -> None:
    """Raise ValueError for a model of transformers or PEFT, whose output is not a tensor of logits."""
    if type(model).__module__.startswith(("transformers.", "peft.")):
        raise ValueError(
            f"{type(model).__name__} is not a model of llmguide; convert it: llmguide.from_hf(model)"
        )
