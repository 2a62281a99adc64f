"""Tiny random models of transformers, one for each family and each choice within it, made on the spot."""

import random
from copy import deepcopy
from typing import Any

import torch
import transformers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

transformers.logging.set_verbosity_error()

V = 53
_TOKENS: dict[str, Any] = {"vocab_size": V, "bos_token_id": None, "eos_token_id": None}
_GPT2: dict[str, Any] = {"n_layer": 2, "n_head": 3, "n_embd": 24, "n_positions": 64, **_TOKENS}
_LLAMA: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    **_TOKENS,
}
_BERT: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 44,
    "max_position_embeddings": 64,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
_LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.5}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1],
    "long_factor": [1.5, 4.0],
    "original_max_position_embeddings": 16,
}

DECODERS: dict[str, tuple[type, Any]] = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(**_GPT2)),
    "gpt2-untied": (GPT2LMHeadModel, GPT2Config(**_GPT2, tie_word_embeddings=False, n_inner=40)),
    "gpt2-exact-gelu": (GPT2LMHeadModel, GPT2Config(**_GPT2, activation_function="gelu")),
    "bloom": (BloomForCausalLM, BloomConfig(hidden_size=24, n_layer=2, n_head=3, **_TOKENS)),
    "llama": (LlamaForCausalLM, LlamaConfig(**_LLAMA)),
    "llama-tied-wide": (LlamaForCausalLM, LlamaConfig(**_LLAMA, tie_word_embeddings=True, head_dim=8)),
    "llama-biases": (LlamaForCausalLM, LlamaConfig(**_LLAMA, attention_bias=True, mlp_bias=True)),
    "llama3-scaling": (LlamaForCausalLM, LlamaConfig(**_LLAMA, rope_parameters=_LLAMA3)),
    "llama-yarn": (LlamaForCausalLM, LlamaConfig(**_LLAMA, rope_parameters=_YARN)),
    "llama-linear": (LlamaForCausalLM, LlamaConfig(**_LLAMA, rope_parameters=_LINEAR)),
    "llama-dynamic": (LlamaForCausalLM, LlamaConfig(**_LLAMA, rope_parameters=_DYNAMIC)),
    "llama-longrope": (LlamaForCausalLM, LlamaConfig(**_LLAMA, rope_parameters=_LONGROPE)),
    "mistral": (MistralForCausalLM, MistralConfig(**_LLAMA, sliding_window=5)),
    "mixtral": (MixtralForCausalLM, MixtralConfig(**_LLAMA, num_local_experts=5, num_experts_per_tok=2)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**_LLAMA)),
    "qwen2-window": (
        Qwen2ForCausalLM,
        Qwen2Config(**_LLAMA, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    ),
    "qwen3-window": (
        Qwen3ForCausalLM,
        Qwen3Config(**_LLAMA, head_dim=8, use_sliding_window=True, sliding_window=4, max_window_layers=0),
    ),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**_LLAMA, head_dim=8)),
}
ENCODERS: dict[str, tuple[type, Any]] = {
    "bert": (BertModel, BertConfig(**_BERT)),
    "bert-mlm": (BertForMaskedLM, BertConfig(**_BERT)),
    "bert-mlm-relu": (BertForMaskedLM, BertConfig(**_BERT, hidden_act="relu")),
    "bert-mlm-untied": (BertForMaskedLM, BertConfig(**_BERT, tie_word_embeddings=False)),
}


def hf_model(name: str, *, seed: int = 0) -> Any:
    """Make a tiny random model in evaluation mode, with weights so large that its logits differ clearly."""
    return _lively(*(DECODERS | ENCODERS)[name], seed=seed)


def random_decoder(seed: int) -> Any:
    """Make a decoder of random sizes, of the seven families in turn."""
    draw = random.Random(seed)
    H, L = draw.choice([1, 2, 3, 4, 6]), draw.choice([1, 2, 3])
    K = draw.choice([k for k in range(1, H + 1) if H % k == 0])
    D, F = H * draw.choice([4, 8]), draw.choice([8, 16, 44])  # grouped_mm wants rows of 16 bytes
    is_tied = draw.random() < 0.5
    llama = _LLAMA | {
        "hidden_size": D,
        "intermediate_size": F,
        "num_hidden_layers": L,
        "num_attention_heads": H,
        "num_key_value_heads": K,
        "tie_word_embeddings": is_tied,
        "rms_norm_eps": draw.choice([1e-6, 1e-5]),
    }
    rope = draw.choice([{"rope_type": "default", "rope_theta": 5e3}, _LLAMA3, _YARN, _LINEAR])
    window = draw.choice([2, 3, 9, 40])  # with 1 transformers' cache differs from its own model
    N = draw.choice([2, 3, 4])
    gpt2 = _GPT2 | {"n_layer": L, "n_head": H, "n_embd": D, "n_inner": F, "tie_word_embeddings": is_tied}
    bloom = {"n_layer": L, "n_head": H, "hidden_size": D, **_TOKENS}
    experts = {"num_local_experts": N, "num_experts_per_tok": draw.randint(1, N)}
    kind, config = (
        (GPT2LMHeadModel, GPT2Config(**gpt2)),
        (BloomForCausalLM, BloomConfig(**bloom)),
        (LlamaForCausalLM, LlamaConfig(**llama, rope_parameters=rope)),
        (MistralForCausalLM, MistralConfig(**llama, sliding_window=window)),
        (MixtralForCausalLM, MixtralConfig(**llama, **experts)),
        (Qwen2ForCausalLM, Qwen2Config(**llama)),
        (Qwen3ForCausalLM, Qwen3Config(**llama, head_dim=draw.choice([4, 8]))),
    )[seed % 7]
    return _lively(kind, config, seed=seed)


def _lively(kind: type, config: Any, *, seed: int) -> Any:
    torch.manual_seed(seed)
    model = kind(deepcopy(config)).eval()  # a model keeps its config, and may change it
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
            elif "bias" in parameter_name:
                parameter.normal_(std=0.1)
            else:
                parameter.normal_(mean=1.0, std=0.1)
    return model
