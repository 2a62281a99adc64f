"""Configs: a model of Hugging Face transformers as a `ModelConfig`, and back.

What a family can do and ours cannot is refused by name, never dropped. Leaves out every family not listed in
``CONFIGS``.
"""

from importlib import import_module
from math import log, sqrt
from typing import Any

from llmguide.config.model_config import ModelConfig
from llmguide.config.rope_scaling import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RopeScaling,
    YarnScaling,
)

ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}


def _need(hf: Any, **wanted: Any) -> None:
    """Refuse a config that our models cannot represent; a field that it lacks is fine."""
    for name, value in wanted.items():
        found = getattr(hf, name, value)
        if found != value:
            raise ValueError(
                f"{hf.model_type} with {name}={found!r} has no counterpart among our models, only {value!r}"
            )


def _activation(hf: Any, name: str) -> str:
    try:
        return ACTIVATIONS[getattr(hf, name)]
    except KeyError:
        raise ValueError(
            f"{hf.model_type} with {name}={getattr(hf, name)!r} has no counterpart among our models, only "
            f"{', '.join(ACTIVATIONS)}"
        ) from None


def _gpt2_config(hf: Any) -> dict[str, Any]:
    _need(hf, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    return {
        "context_length": hf.n_positions,
        "d_ff": hf.n_inner or 4 * hf.n_embd,
        "activation": _activation(hf, "activation_function"),
        "norm_eps": hf.layer_norm_epsilon,
    }


def _bloom_config(hf: Any) -> dict[str, Any]:
    _need(hf, apply_residual_connection_post_layernorm=False)
    return {
        "context_length": 2048,  # of the training; transformers does not keep it, and ALiBi has no limit
        "positions": "alibi",
        "activation": "gelu_tanh",
        "norm_eps": hf.layer_norm_epsilon,
        "embedding_norm": True,
    }


def _llama_config(hf: Any) -> dict[str, Any]:
    _need(hf, hidden_act="silu")
    if hf.model_type == "qwen3":
        _need(hf, attention_bias=False)
    bias = getattr(hf, "attention_bias", False)
    if getattr(hf, "mlp_bias", bias) != bias:
        raise ValueError(f"attention_bias={bias} and mlp_bias={hf.mlp_bias} differ; ours has both or neither")
    rope = dict(hf.rope_parameters)
    return {
        "context_length": hf.max_position_embeddings,
        "n_kv_heads": hf.num_key_value_heads,
        "head_dim": getattr(hf, "head_dim", None) or hf.hidden_size // hf.num_attention_heads,
        "d_ff": hf.intermediate_size,
        "positions": "rope",
        "rope_theta": rope["rope_theta"],
        "rope_scaling": _rope_scaling(rope, hf.max_position_embeddings),
        "norm": "rmsnorm",
        "norm_eps": hf.rms_norm_eps,
        "activation": "swiglu",
        "bias": bias,
        "qkv_bias": bias or hf.model_type == "qwen2",
        "qk_norm": hf.model_type == "qwen3",
        **_window(hf),
        "n_experts": getattr(hf, "num_local_experts", 0),
        "n_experts_per_token": getattr(hf, "num_experts_per_tok", 0),
    }


def _window(hf: Any) -> dict[str, Any]:
    """Return the sliding window, and the number of layers before those that have it."""
    window, kinds = getattr(hf, "sliding_window", None), getattr(hf, "layer_types", None)
    if window is None or not kinds:
        return {"sliding_window": window}
    n_full = sum(kind == "full_attention" for kind in kinds)
    if kinds != ["full_attention"] * n_full + ["sliding_attention"] * (len(kinds) - n_full):
        raise ValueError(f"layer_types {kinds} have no counterpart here: layers with a window come last")
    return {"sliding_window": window, "n_full_layers": n_full} if n_full < len(kinds) else {}


def _rope_scaling(rope: dict[str, Any], context: int) -> RopeScaling | None:
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return None
    if kind == "linear":
        return LinearScaling(rope["factor"])
    if kind == "llama3":
        return Llama3Scaling(
            rope["factor"],
            rope["low_freq_factor"],
            rope["high_freq_factor"],
            rope["original_max_position_embeddings"],
        )
    if kind == "yarn" and rope.get("truncate", True) and not rope.get("mscale"):
        return YarnScaling(
            rope["factor"],
            rope["original_max_position_embeddings"],
            rope.get("beta_fast") or 32.0,
            rope.get("beta_slow") or 1.0,
            rope.get("attention_factor"),
        )
    if kind == "dynamic":
        return DynamicScaling(rope["factor"], context)
    if kind == "longrope":
        original, attention_factor = rope["original_max_position_embeddings"], rope.get("attention_factor")
        if attention_factor is None:
            factor = rope.get("factor") or context / original
            attention_factor = sqrt(1 + log(factor) / log(original)) if factor > 1 else 1.0
        return LongRopeScaling(rope["short_factor"], rope["long_factor"], original, attention_factor)
    raise ValueError(
        f"rope_parameters {rope} have no counterpart here, only default, linear, llama3, dynamic, longrope "
        "and plain yarn"
    )


def _rope_parameters(config: ModelConfig) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    match config.rope_scaling:
        case LinearScaling(factor):
            rope |= {"rope_type": "linear", "factor": factor}
        case Llama3Scaling(factor, low, high, original):
            rope |= {"rope_type": "llama3", "factor": factor, "low_freq_factor": low}
            rope |= {"high_freq_factor": high, "original_max_position_embeddings": original}
        case YarnScaling(factor, original, fast, slow, attention_factor):
            rope |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
            rope |= {"beta_fast": fast, "beta_slow": slow, "attention_factor": attention_factor}
        case DynamicScaling(factor):
            rope |= {"rope_type": "dynamic", "factor": factor}
        case LongRopeScaling(short, long, original, attention_factor):
            rope |= {"rope_type": "longrope", "short_factor": list(short), "long_factor": list(long)}
            rope |= {"original_max_position_embeddings": original, "attention_factor": attention_factor}
    return rope


def _bert_config(hf: Any) -> dict[str, Any]:
    _need(hf, is_decoder=False, add_cross_attention=False, position_embedding_type="absolute")
    return {
        "architecture": "encoder",
        "context_length": hf.max_position_embeddings,
        "d_ff": hf.intermediate_size,
        "norm_position": "post",
        "norm_eps": hf.layer_norm_eps,
        "activation": _activation(hf, "hidden_act"),
        "embedding_norm": True,
        "n_token_types": hf.type_vocab_size,
    }


CONFIGS = {
    "gpt2": _gpt2_config,
    "bloom": _bloom_config,
    "bert": _bert_config,
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen2", "qwen3"), _llama_config),
}


def config_from_hf(hf: Any) -> ModelConfig:
    """Translate a config of transformers.

    Dropout is a choice of training and not translated: it is 0.

    Args:
        hf: A ``transformers`` config of GPT-2, BLOOM, LLaMA, Mistral, Mixtral, Qwen2, Qwen3 or BERT.

    Returns:
        The same model as a `ModelConfig`; the pooler of a BERT is known from its weights only.

    Raises:
        ValueError: If the family, or a choice within it, has no counterpart here.
    """
    if hf.model_type not in CONFIGS:
        raise ValueError(f"model_type {hf.model_type!r} is not among {', '.join(CONFIGS)}")
    return ModelConfig(
        vocab_size=hf.vocab_size,
        n_layers=hf.num_hidden_layers,
        d_model=hf.hidden_size,
        n_heads=hf.num_attention_heads,
        tie_embeddings=hf.tie_word_embeddings,
        **CONFIGS[hf.model_type](hf),
    )


def config_to_hf(config: ModelConfig) -> Any:
    """Translate a `ModelConfig` into a config of transformers.

    Args:
        config: A decoder or encoder that one of the families can express.

    Returns:
        A config whose translation back is ``config`` (except for ``dropout`` and ``pooler``).

    Raises:
        ValueError: If no family can express the config; the message names the fields in the way.
    """
    transformers = import_module("transformers")  # optional, and slow to import

    shared: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.n_layers,
        "hidden_size": config.d_model,
        "num_attention_heads": config.n_heads,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    p = config.dropout
    activation = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}.get(config.activation)
    hf: Any
    if config.architecture == "encoder":
        hf = transformers.BertConfig(
            **shared,
            max_position_embeddings=config.context_length,
            intermediate_size=config.d_ff,
            hidden_act=activation or "gelu",
            type_vocab_size=config.n_token_types,
            layer_norm_eps=config.norm_eps,
            hidden_dropout_prob=p,
            attention_probs_dropout_prob=p,
        )
    elif config.positions == "alibi":
        hf = transformers.BloomConfig(
            **shared, layer_norm_epsilon=config.norm_eps, hidden_dropout=p, attention_dropout=p
        )
    elif config.positions == "rope":
        hf = _llama_family(config, shared, transformers)
    else:
        hf = transformers.GPT2Config(
            **shared,
            n_positions=config.context_length,
            n_inner=config.d_ff,
            activation_function=activation or "gelu_new",
            layer_norm_epsilon=config.norm_eps,
            resid_pdrop=p,
            embd_pdrop=p,
            attn_pdrop=p,
        )

    back = config_from_hf(hf)
    differences = {
        name: getattr(config, name)
        for name in config.__dataclass_fields__
        if name not in ("dropout", "pooler") and getattr(config, name) != getattr(back, name)
    }
    if config.positions == "alibi":
        differences.pop("context_length", None)  # ALiBi has no limit, and BLOOM's config no field for it
    if differences:
        raise ValueError(f"{hf.model_type}, the closest family of transformers, cannot express {differences}")
    return hf


def _llama_family(config: ModelConfig, shared: dict[str, Any], transformers: Any) -> Any:
    shared = shared | {
        "max_position_embeddings": config.context_length,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.d_ff,
        "rope_parameters": _rope_parameters(config),
        "rms_norm_eps": config.norm_eps,
        "attention_dropout": config.dropout,
    }
    if config.n_experts:
        experts = {"num_local_experts": config.n_experts, "num_experts_per_tok": config.n_experts_per_token}
        return transformers.MixtralConfig(**shared, **experts, sliding_window=config.sliding_window)
    window = {
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "max_window_layers": config.n_full_layers,
    }
    if config.qk_norm:
        return transformers.Qwen3Config(**shared, **window)
    if (config.qkv_bias and not config.bias) or config.n_full_layers:
        return transformers.Qwen2Config(**shared, **window)
    if config.sliding_window is not None:
        return transformers.MistralConfig(**shared, sliding_window=config.sliding_window)
    return transformers.LlamaConfig(**shared, attention_bias=config.bias, mlp_bias=config.bias)
