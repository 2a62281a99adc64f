"""The shape of a model that a command trains: given sizes, or those of a published model."""

from dataclasses import asdict, dataclass, replace

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS


@dataclass(frozen=True)
class Shape:
    """Sizes of a new model."""

    n_layers: int = 4  # number of blocks
    d_model: int = 128  # width of the model
    n_heads: int = 4  # attention heads
    dropout: float = 0.0  # dropout probability; helps if a small corpus is used for many epochs


DEFAULT_SHAPE = Shape()


def decoder_config(vocab_size: int, context_length: int, *, preset: str | None, shape: Shape) -> ModelConfig:
    """Return a model configuration: GPT-2's design with the given sizes, or a preset.

    >>> decoder_config(2048, 128, preset=None, shape=Shape()).n_params()
    1071872
    """
    if preset is None:
        sizes = {"vocab_size": vocab_size, "context_length": context_length, **asdict(shape)}
        return ModelConfig(**sizes, activation="gelu_tanh")
    if shape != Shape(dropout=shape.dropout):
        raise ValueError(f"preset {preset!r} has a fixed shape; drop it, or --n-layers, --d-model, --n-heads")
    if preset not in PRESETS or PRESETS[preset].architecture != "decoder":
        decoders = ", ".join(name for name, config in PRESETS.items() if config.architecture == "decoder")
        raise ValueError(f"preset={preset!r} must be one of {decoders}")
    return replace(
        PRESETS[preset], vocab_size=vocab_size, context_length=context_length, dropout=shape.dropout
    )
