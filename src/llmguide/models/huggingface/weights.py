"""Names and layouts: which tensors of Hugging Face transformers hold which of ours.

Most tensors only change their name. What changes its layout, in one place:

- GPT-2's ``Conv1D`` stores a linear layer transposed, and queries, keys and values in one tensor;
- BLOOM has them in one tensor too, but head by head: query, key, value of head 0, then of head 1;
- Mixtral in memory stacks all experts, gate above up; its files hold each expert apart, as we do.

RoPE needs no change: transformers and `llmguide.nn.rope` both pair component i with i + E/2.

Leaves out: Meta's own LLaMA files, whose pairs are interleaved; quantized checkpoints.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from llmguide.config.model_config import ModelConfig


@dataclass(frozen=True)
class Layout:
    """How one tensor of theirs splits into one or more of ours, and how ours join into theirs."""

    split: Callable[[Tensor, ModelConfig], list[Tensor]]
    join: Callable[[list[Tensor], ModelConfig], Tensor]


@dataclass(frozen=True)
class Rule:
    """One tensor of theirs and the tensors of ours that hold the same numbers."""

    theirs: str
    ours: list[str]
    layout: Layout


def _transposed(x: Tensor) -> Tensor:
    return x.mT if x.ndim == 2 else x  # a bias has nothing to transpose


def _split_qkv(x: Tensor, _: ModelConfig) -> list[Tensor]:
    # (..., 3 D) -> three of (D, ...), copied: an optimizer that is given parts of rows would write past them
    parts = x.view(*x.shape[:-1], 3, -1).movedim(-2, 0).contiguous()
    return [_transposed(part) for part in parts]


def _by_head(x: Tensor, config: ModelConfig, parts: int) -> Tensor:
    """Show the parts and heads of stacked projections, (H * parts * E, ...) -> (H, parts, E, ...)."""
    return x.view(config.n_heads, parts, config.head_dim, *x.shape[1:])


def _split_by_head(x: Tensor, config: ModelConfig) -> list[Tensor]:
    return [part.flatten(0, 1) for part in _by_head(x, config, 3).unbind(1)]


def _join_by_head(parts: list[Tensor], config: ModelConfig) -> Tensor:
    return torch.cat([_by_head(part, config, 1) for part in parts], dim=1).flatten(0, 2)


def _stacked_pairs(parts: list[Tensor], _: ModelConfig) -> Tensor:
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return torch.stack([torch.cat(pair) for pair in pairs])


SAME = Layout(lambda x, _: [x], lambda parts, _: parts[0])
CONV1D = Layout(lambda x, _: [_transposed(x)], lambda parts, _: _transposed(parts[0]))
CONV1D_QKV = Layout(_split_qkv, lambda parts, _: _transposed(torch.cat(parts)))
QKV_BY_HEAD = Layout(_split_by_head, _join_by_head)
EXPERTS = Layout(lambda x, _: list(x), lambda parts, _: torch.stack(parts))
EXPERTS_GATE_UP = Layout(lambda x, _: [half for expert in x for half in expert.chunk(2)], _stacked_pairs)

QKV = ["attention.q_proj", "attention.k_proj", "attention.v_proj"]


def _module(theirs: str, ours: str | list[str], layout: Layout = SAME) -> Iterator[Rule]:
    """Make the rules for weight and bias of a module, or of several that transformers stores as one."""
    names = [ours] if isinstance(ours, str) else ours
    for kind in (".weight", ".bias"):
        yield Rule(theirs + kind, [name + kind for name in names], layout)


def _in_block(i: int, *names: str) -> list[str]:
    return [f"blocks.{i}.{name}" for name in names]


def _gpt2_rules(config: ModelConfig, _: set[str]) -> Iterator[Rule]:
    yield from _module("transformer.wte", "tokens")
    yield from _module("transformer.wpe", "positions")
    for i in range(config.n_layers):
        block = f"transformer.h.{i}"
        yield from _module(f"{block}.ln_1", _in_block(i, "attention_norm"))
        yield from _module(f"{block}.attn.c_attn", _in_block(i, *QKV), CONV1D_QKV)
        yield from _module(f"{block}.attn.c_proj", _in_block(i, "attention.o_proj"), CONV1D)
        yield from _module(f"{block}.ln_2", _in_block(i, "feed_forward_norm"))
        yield from _module(f"{block}.mlp.c_fc", _in_block(i, "feed_forward.up"), CONV1D)
        yield from _module(f"{block}.mlp.c_proj", _in_block(i, "feed_forward.down"), CONV1D)
    yield from _module("transformer.ln_f", "final_norm")
    yield from _module("lm_head", "head")


def _bloom_rules(config: ModelConfig, _: set[str]) -> Iterator[Rule]:
    yield from _module("transformer.word_embeddings", "tokens")
    yield from _module("transformer.word_embeddings_layernorm", "embedding_norm")
    for i in range(config.n_layers):
        block = f"transformer.h.{i}"
        yield from _module(f"{block}.input_layernorm", _in_block(i, "attention_norm"))
        yield from _module(f"{block}.self_attention.query_key_value", _in_block(i, *QKV), QKV_BY_HEAD)
        yield from _module(f"{block}.self_attention.dense", _in_block(i, "attention.o_proj"))
        yield from _module(f"{block}.post_attention_layernorm", _in_block(i, "feed_forward_norm"))
        yield from _module(f"{block}.mlp.dense_h_to_4h", _in_block(i, "feed_forward.up"))
        yield from _module(f"{block}.mlp.dense_4h_to_h", _in_block(i, "feed_forward.down"))
    yield from _module("transformer.ln_f", "final_norm")
    yield from _module("lm_head", "head")


def _llama_rules(config: ModelConfig, names: set[str]) -> Iterator[Rule]:
    yield from _module("model.embed_tokens", "tokens")
    for i in range(config.n_layers):
        block = f"model.layers.{i}"
        yield from _module(f"{block}.input_layernorm", _in_block(i, "attention_norm"))
        for letter in "qkvo":
            yield from _module(f"{block}.self_attn.{letter}_proj", _in_block(i, f"attention.{letter}_proj"))
        for letter in "qk":
            yield from _module(f"{block}.self_attn.{letter}_norm", _in_block(i, f"attention.{letter}_norm"))
        yield from _module(f"{block}.post_attention_layernorm", _in_block(i, "feed_forward_norm"))
        if config.n_experts:
            yield from _mixtral_rules(config, i, is_file=f"{block}.block_sparse_moe.gate.weight" in names)
        else:
            for part in ("gate", "up", "down"):
                yield from _module(f"{block}.mlp.{part}_proj", _in_block(i, f"feed_forward.{part}"))
    yield from _module("model.norm", "final_norm")
    yield from _module("lm_head", "head")


def _mixtral_rules(config: ModelConfig, i: int, *, is_file: bool) -> Iterator[Rule]:
    experts = [f"blocks.{i}.feed_forward.experts.{e}" for e in range(config.n_experts)]
    if is_file:
        mixture = f"model.layers.{i}.block_sparse_moe"
        for e, expert in enumerate(experts):
            for theirs, ours in (("w1", "gate"), ("w3", "up"), ("w2", "down")):
                yield from _module(f"{mixture}.experts.{e}.{theirs}", f"{expert}.{ours}")
    else:
        mixture = f"model.layers.{i}.mlp"
        gate_up = [f"{expert}.{part}.weight" for expert in experts for part in ("gate", "up")]
        yield Rule(f"{mixture}.experts.gate_up_proj", gate_up, EXPERTS_GATE_UP)
        down = [f"{expert}.down.weight" for expert in experts]
        yield Rule(f"{mixture}.experts.down_proj", down, EXPERTS)
    yield from _module(f"{mixture}.gate", _in_block(i, "feed_forward.router"))


def _bert_rules(config: ModelConfig, names: set[str]) -> Iterator[Rule]:
    """Remove the prefix ``encoder.`` from our names, which `MaskedLM` has and `Encoder` does not."""
    prefix = "encoder." if any(name.startswith("cls.predictions.") for name in names) else ""
    for theirs, ours in {
        "embeddings.word_embeddings": "tokens",
        "embeddings.position_embeddings": "positions",
        "embeddings.token_type_embeddings": "token_types",
        "embeddings.LayerNorm": "embedding_norm",
        "pooler.dense": "pooler",
    }.items():
        yield from _module(f"bert.{theirs}", prefix + ours)
    for i in range(config.n_layers):
        for theirs, ours in {
            "attention.self.query": "attention.q_proj",
            "attention.self.key": "attention.k_proj",
            "attention.self.value": "attention.v_proj",
            "attention.output.dense": "attention.o_proj",
            "attention.output.LayerNorm": "attention_norm",
            "intermediate.dense": "feed_forward.up",
            "output.dense": "feed_forward.down",
            "output.LayerNorm": "feed_forward_norm",
        }.items():
            yield from _module(f"bert.encoder.layer.{i}.{theirs}", f"{prefix}blocks.{i}.{ours}")
    yield from _module("cls.predictions.transform.dense", "transform")
    yield from _module("cls.predictions.transform.LayerNorm", "transform_norm")
    yield Rule("cls.predictions.decoder.weight", ["head.weight"], SAME)
    bias = "cls.predictions.bias" if config.tie_embeddings else "cls.predictions.decoder.bias"
    yield Rule(bias, ["head_bias"], SAME)


RULES = {
    "gpt2": _gpt2_rules,
    "bloom": _bloom_rules,
    "bert": _bert_rules,
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen2", "qwen3"), _llama_rules),
}
