"""The class that belongs to a config."""

from typing import Any

import torch

from llmguide.arguments import check_type
from llmguide.config.model_config import ModelConfig
from llmguide.models.encoder import Encoder, MaskedLM
from llmguide.models.encoder_decoder import Transformer
from llmguide.models.gpt import GPT
from llmguide.models.llama import Llama


def build(config: ModelConfig) -> GPT | Llama | MaskedLM | Transformer:
    """Build the model that a config describes, with random weights; it returns logits ``(B, T, V)``.

    Args:
        config: Sizes and choices. An encoder gets its masked-language-model head.

    Returns:
        The model, in training mode like every new module of torch.

    Raises:
        ValueError: If no class has this combination of choices.

    >>> from llmguide import ModelConfig, build
    >>> config = ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3)
    >>> type(build(config)).__name__
    'GPT'
    """
    check_type("config", config, ModelConfig, "pass a ModelConfig, such as PRESETS['gpt2']")
    if config.architecture == "encoder":
        return MaskedLM(config)
    if config.architecture == "encoder-decoder":
        return Transformer(config)
    return Llama(config) if config.positions == "rope" else GPT(config)


def require_as_built(model: Any) -> None:
    """Raise an error if a model has other tensors than the one that `build` makes from its config.

    Raises:
        ValueError: A tensor is missing, unexpected or of another shape, as after `apply_lora`.
    """
    with torch.device("meta"):
        expected = (Encoder if isinstance(model, Encoder) else build)(model.config).state_dict()
    shapes, expected_shapes = (
        {name: tensor.shape for name, tensor in state.items()} for state in (model.state_dict(), expected)
    )
    if changed := [name for name, _ in expected_shapes.items() ^ shapes.items()]:
        raise ValueError(
            f"the model differs from the one that its config describes, for example in {min(changed)}, so it "
            "could not be opened again. Call merge_lora and remove_lora to keep the effect of an adapter, or "
            "write the adapter with save_adapter; dequantize_model restores quantized layers; write other "
            "changes with torch.save(model.state_dict(), path)"
        )
