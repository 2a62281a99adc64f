"""The class that belongs to a config."""

from llmguide.arguments import check_type
from llmguide.config import ModelConfig
from llmguide.models.encoder import MaskedLM
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
