"""Configs of published models, by name, with the places in the papers that they come from.

>>> from llmguide import PRESETS
>>> PRESETS["gpt2"].n_params()
124439808
"""

from typing import Any

from llmguide.config.model_config import ModelConfig
from llmguide.config.rope_scaling import Llama3Scaling


def _gpt(n_layers: int, d_model: int, n_heads: int, context_length: int = 1024) -> ModelConfig:
    # the vocabulary is 256 bytes + 50,000 merges + <|endoftext|>
    return ModelConfig(
        vocab_size=50_257,
        context_length=context_length,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        activation="gelu_tanh",
    )


def _llama(n_layers: int, d_model: int, n_heads: int, d_ff: int, **changes: Any) -> ModelConfig:
    llama_2: dict[str, Any] = {
        "vocab_size": 32_000,
        "context_length": 4096,
        "positions": "rope",
        "norm": "rmsnorm",
        "activation": "swiglu",
        "bias": False,
        "tie_embeddings": False,
    }
    sizes = {"n_layers": n_layers, "d_model": d_model, "n_heads": n_heads, "d_ff": d_ff}
    return ModelConfig(**(llama_2 | sizes | changes))


def _bert(n_layers: int, d_model: int, n_heads: int) -> ModelConfig:
    return ModelConfig(
        architecture="encoder",
        vocab_size=30_522,
        context_length=512,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        norm_position="post",
        norm_eps=1e-12,
        embedding_norm=True,
        n_token_types=2,
        pooler=True,
    )


def _transformer(d_model: int, n_heads: int) -> ModelConfig:
    # "a shared source-target vocabulary of about 37000 tokens" (section 5.1, English-German); the paper names
    # no limit of length, 512 only sizes a table of sines
    return ModelConfig(
        architecture="encoder-decoder",
        vocab_size=37_000,
        context_length=512,
        n_layers=6,
        d_model=d_model,
        n_heads=n_heads,
        positions="sinusoidal",
        norm_position="post",
        activation="relu",
    )


_LLAMA_3: dict[str, Any] = {"vocab_size": 128_256, "context_length": 8192, "n_kv_heads": 8, "rope_theta": 5e5}


_LLAMA_3_1 = _LLAMA_3 | {"context_length": 131_072, "rope_scaling": Llama3Scaling(8.0, 1.0, 4.0, 8192)}


_MIXTRAL: dict[str, Any] = {
    "n_kv_heads": 8,
    "context_length": 32_768,
    "rope_theta": 1e6,
    "n_experts": 8,
    "n_experts_per_token": 2,
}


_QWEN_2_5: dict[str, Any] = {
    "n_kv_heads": 2,
    "vocab_size": 151_936,
    "context_length": 32_768,
    "rope_theta": 1e6,
    "norm_eps": 1e-6,
    "qkv_bias": True,
    "tie_embeddings": True,
}


_QWEN_3: dict[str, Any] = {
    "n_kv_heads": 8,
    "head_dim": 128,
    "qk_norm": True,
    "vocab_size": 151_936,
    "context_length": 40_960,
    "rope_theta": 1e6,
    "norm_eps": 1e-6,
    "tie_embeddings": True,
}


PRESETS: dict[str, ModelConfig] = {
    # Radford et al. 2019, table 2, whose own parameter counts (117M, 345M, ...) OpenAI has since called wrong
    "gpt2": _gpt(12, 768, 12),
    "gpt2-medium": _gpt(24, 1024, 16),
    "gpt2-large": _gpt(36, 1280, 20),
    "gpt2-xl": _gpt(48, 1600, 25),
    # arXiv:2005.14165, table 2.1; its alternating sparse attention layers change no size
    "gpt3-175b": _gpt(96, 12_288, 96, context_length=2048),
    # arXiv:2307.09288, table 1 and the released configurations
    "llama-2-7b": _llama(32, 4096, 32, 11_008),
    "llama-2-13b": _llama(40, 5120, 40, 13_824),
    "llama-2-70b": _llama(80, 8192, 64, 28_672, n_kv_heads=8),
    # arXiv:2407.21783, table 3 and the released configurations
    "llama-3-8b": _llama(32, 4096, 32, 14_336, **_LLAMA_3),
    "llama-3-70b": _llama(80, 8192, 64, 28_672, **_LLAMA_3),
    "llama-3.1-8b": _llama(32, 4096, 32, 14_336, **_LLAMA_3_1),
    "llama-3.1-405b": _llama(126, 16_384, 128, 53_248, **_LLAMA_3_1),
    # arXiv:2310.06825, table 1
    "mistral-7b": _llama(32, 4096, 32, 14_336, n_kv_heads=8, context_length=8192, sliding_window=4096),
    # arXiv:2401.04088, table 1
    "mixtral-8x7b": _llama(32, 4096, 32, 14_336, **_MIXTRAL),
    # the released configuration of Qwen2.5-0.5B (arXiv:2412.15115)
    "qwen2.5-0.5b": _llama(24, 896, 14, 4864, **_QWEN_2_5),
    # the released configuration of Qwen3-0.6B (arXiv:2505.09388, table 1), whose heads are wider than D / H
    "qwen3-0.6b": _llama(28, 1024, 16, 3072, **_QWEN_3),
    # arXiv:2211.05100, table 3
    "bloom-7b1": ModelConfig(
        vocab_size=250_880,
        context_length=2048,
        n_layers=30,
        d_model=4096,
        n_heads=32,
        positions="alibi",
        activation="gelu_tanh",
        embedding_norm=True,
    ),
    # arXiv:1810.04805, section 3
    "bert-base": _bert(12, 768, 12),
    "bert-large": _bert(24, 1024, 16),
    # arXiv:1706.03762, table 3
    "transformer-base": _transformer(512, 8),
    "transformer-big": _transformer(1024, 16),
}
"""Configs of published models, by name."""
