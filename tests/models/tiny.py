"""Tiny random models of transformers, one for each family and each choice within it, made on the spot."""

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
    "mistral": (MistralForCausalLM, MistralConfig(**_LLAMA, sliding_window=5)),
    "mixtral": (MixtralForCausalLM, MixtralConfig(**_LLAMA, num_local_experts=5, num_experts_per_tok=2)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**_LLAMA)),
}
ENCODERS: dict[str, tuple[type, Any]] = {
    "bert": (BertModel, BertConfig(**_BERT)),
    "bert-mlm": (BertForMaskedLM, BertConfig(**_BERT)),
    "bert-mlm-untied": (BertForMaskedLM, BertConfig(**_BERT, tie_word_embeddings=False)),
}


def hf_model(name: str, *, seed: int = 0) -> Any:
    """Make a tiny random model in evaluation mode, with weights so large that its logits differ clearly."""
    kind, config = (DECODERS | ENCODERS)[name]
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
            elif "bias" in parameter_name:
                parameter.normal_(std=0.1)
            else:
                parameter.normal_(mean=1.0, std=0.1)
    return model
