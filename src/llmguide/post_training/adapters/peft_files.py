r"""Read and write PEFT's adapter files, so that adapters work on models of transformers and on ours.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Only the names of tensors change;
their layout is the same, also for GPT-2, whose ``Conv1D`` transposes the weight but not the adapter. The
queries, keys and values of GPT-2 and BLOOM are one layer in transformers and three here. Their conversion is
exact, too, but changes the rank:

- **to PEFT**: three adapters of rank r become one of rank 3r. Its A is the stack of the three A; its B is
  block-diagonal, so each part uses only its own rows of A. If fewer are adapted, the rank is lower.
- **from PEFT**: each of the three gets a copy of A and its own rows of B, without the columns that are zero
  in those rows, so a round trip restores an adapter. Further training changes the copies of A independently.

| | to PEFT | from PEFT |
| --- | --- | --- |
| LLaMA, Mistral, Qwen2 | all layers, and the head if it is not tied | the same |
| GPT-2, BLOOM | all layers, as above | the same |
| Mixtral | attention | attention |

Refused with an error that names them: experts and routers of Mixtral, which are not linear layers in
transformers; DoRA, trained biases, embeddings, fully trained modules, and initializations that change the
base weight, as PiSSA does.

Reading needs ``llmguide[hf]``; writing needs no other package, so it works in the reader's tab too.
"""

import json
import re
from collections.abc import Collection
from contextlib import suppress
from importlib import import_module
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmguide.files import write_json
from llmguide.models.gpt import GPT
from llmguide.models.huggingface.config import config_to_hf
from llmguide.models.huggingface.weights import CONV1D, CONV1D_QKV, EXPERTS, EXPERTS_GATE_UP, RULES, Rule
from llmguide.models.llama import Llama
from llmguide.models.q4_files import write_float32
from llmguide.post_training.adapters.lora import adapter_names, insert_adapter, lora_layers
from llmguide.post_training.adapters.lora_layer import Adapter, LoRALinear

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
BASE = re.compile(r"base_model\.model\.(.+)\.base_layer\.weight")  # tensor that PEFT adds for an adapted head
PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # leave the base weight unchanged
FOREIGN = (  # fields of PEFT's config that change what an adapter computes
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)


def save_adapter(
    model: nn.Module, folder: str | Path, *, name: str = "default", base: str | None = None
) -> None:
    """Write one adapter for PEFT: ``PeftModel.from_pretrained(to_hf(base), folder)`` gives the same outputs.

    Args:
        model: A decoder with the adapter, of a family that transformers has; or a model of transformers
            with an adapter of `apply_lora`.
        folder: Output folder; created if missing.
        name: Name of the adapter.
        base: Path or hub name of the base model, from which PEFT and `llmguide.load` open it.

    Raises:
        ValueError: There is no such adapter, or PEFT cannot hold one of its layers.
    """
    loras = {path: layer for path, layer in lora_layers(model) if name in layer.adapters}
    if not loras:
        raise ValueError(f"no adapter is named {name!r}; there are {adapter_names(model)}")
    is_transposed = False
    if isinstance(model, GPT | Llama):
        wanted = _as_in_transformers(model, loras, name)
        family, rules = _rules(model)
        is_transposed = family == "gpt2"
        modules = [rule.theirs.removesuffix(".weight") for rule in rules]
    else:
        modules = [path for path, _ in model.named_modules()]
        layers: dict[str, Any] = {path: layer.adapters[name] for path, layer in loras.items()}
        wanted = {path: (each.A.detach(), each.B.detach(), each) for path, each in layers.items()}
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for theirs, (A, B, adapter) in wanted.items():
        tensors[f"base_model.model.{theirs}.lora_A.weight"] = A.contiguous()
        tensors[f"base_model.model.{theirs}.lora_B.weight"] = B.contiguous()
        ranks[theirs] = len(A)
        growth = len(A) / adapter.rank
        alphas[theirs] = adapter.alpha * (sqrt(growth) if adapter.rslora else growth)
    first = next(iter(wanted))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": ranks[first],
        "lora_alpha": alphas[first],
        "lora_dropout": adapter.dropout,
        "use_rslora": adapter.rslora,
        "target_modules": _as_endings(wanted, modules),
        "rank_pattern": {key: rank for key, rank in ranks.items() if rank != ranks[first]},
        "alpha_pattern": {key: alpha for key, alpha in alphas.items() if alpha != alphas[first]},
        "fan_in_fan_out": is_transposed,
        "bias": "none",
        "init_lora_weights": True,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_float32(folder / WEIGHTS, tensors)
    write_json(folder / CONFIG, config)


def load_adapter(model: nn.Module, folder: str | Path, *, name: str = "default") -> None:
    """Read an adapter that PEFT or `save_adapter` wrote, in place; it becomes the active, trainable one.

    Args:
        model: Our model of the same base, for example from `llmguide.load`.
        folder: Folder that contains both files.
        name: Name to give the adapter.

    Raises:
        TypeError: The model is one of transformers, for which PEFT opens adapters.
        ValueError: A file is missing or damaged, the adapter is of another kind than LoRA, or its tensors do
            not fit the model.
    """
    if not isinstance(model, GPT | Llama):
        raise TypeError(
            f"{type(model).__name__} is not a model of llmguide; "
            "peft.PeftModel.from_pretrained(model, folder) opens the adapter for models of transformers"
        )
    config, tensors = _read(Path(folder))
    _require_plain(config)
    _, rules = _rules(model)
    by_module = {
        rule.theirs.removesuffix(".weight"): rule for rule in rules if rule.theirs.endswith("weight")
    }
    for key in [key for key in tensors if BASE.fullmatch(key)]:
        _require_base(model, by_module, key, tensors.pop(key))

    matches = {key: KEY.fullmatch(key) for key in tensors}
    modules = {match[1] for match in matches.values() if match}
    unknown = [key for key, match in matches.items() if match is None or match[1] not in by_module]
    if unknown or len(tensors) != 2 * len(modules):
        raise ValueError(
            f"{folder}: of {len(tensors)} tensors for {len(modules)} layers, these match no linear layer "
            f"of this model: {unknown or 'none, but some A or B is missing'}"
        )
    made: dict[str, Adapter] = {}
    for theirs in sorted(modules):
        rule = by_module[theirs]
        _require_exchangeable(rule)
        A, B = (tensors[f"base_model.model.{theirs}.lora_{letter}.weight"] for letter in "AB")
        made |= _split(model, rule, A, B, alpha=_for_module(config, theirs), config=config)
    insert_adapter(model, made, name)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the configuration and the tensors of an adapter."""
    damage = import_module("safetensors").SafetensorError
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config["peft_type"], config["lora_alpha"]  # the two required fields
        return config, import_module("safetensors.torch").load_file(folder / WEIGHTS)
    except (KeyError, OSError, TypeError, ValueError, damage) as error:
        raise ValueError(f"{folder} holds no adapter, or a damaged one: {error!r}") from error


def _require_base(model: GPT | Llama, by_module: dict[str, Rule], key: str, weight: Tensor) -> None:
    """Raise an error if a base weight in the file differs from the model's."""
    match = BASE.fullmatch(key)
    rule = by_module.get(match[1]) if match else None
    ours = [] if rule is None else [model.get_parameter(name).detach() for name in rule.ours]
    if rule is None or not torch.equal(rule.layout.join(ours, model.config), weight.to(ours[0])):
        raise ValueError(
            f"{key} is not the weight of this model; load the base that the adapter was trained on"
        )


def _as_in_transformers(
    model: GPT | Llama, loras: dict[str, LoRALinear], name: str
) -> dict[str, tuple[Tensor, Tensor, Adapter]]:
    """Return A, B and settings of each adapted layer of transformers that corresponds to layers of ours."""
    by_part = {part: rule for rule in _rules(model)[1] for part in rule.ours}
    rules = {}
    for path in loras:
        rule = by_part[f"{path}.weight"]
        _require_exchangeable(rule)
        rules[rule.theirs.removesuffix(".weight")] = rule
    return {theirs: _join(model, rule, name) for theirs, rule in rules.items()}


def _join(model: GPT | Llama, rule: Rule, name: str) -> tuple[Tensor, Tensor, Adapter]:
    """Combine the adapters of our layers into one adapter of the transformers layer that holds them."""
    parts: list[tuple[Any, Adapter | None]] = []
    for path in rule.ours:
        layer: Any = model.get_submodule(path.removesuffix(".weight"))
        has = isinstance(layer, LoRALinear) and name in layer.adapters
        parts.append((layer, layer.adapters[name] if has else None))
    adapters = [adapter for _, adapter in parts if adapter is not None]
    A = torch.cat([adapter.A.detach() for adapter in adapters])
    blocks, column = [], 0
    for layer, adapter in parts:
        block = A.new_zeros(layer.out_features, len(A))
        if adapter is not None:
            block[:, column : column + adapter.rank] = adapter.B.detach()
            column += adapter.rank
        blocks.append(block)
    B = rule.layout.join(blocks, model.config)
    return A, B.mT if _is_transposed(rule) else B, adapters[0]


def _split(
    model: GPT | Llama, rule: Rule, A: Tensor, B: Tensor, *, alpha: float, config: dict[str, Any]
) -> dict[str, Adapter]:
    """Split an adapter of a transformers layer into adapters of our layers."""
    paths = [path.removesuffix(".weight") for path in rule.ours]
    layers: list[Any] = [model.get_submodule(path) for path in paths]
    shape = sum(layer.out_features for layer in layers), layers[0].in_features
    if (len(B), A.shape[1]) != shape or len(A) != B.shape[1]:
        raise ValueError(
            f"{rule.theirs}: A {tuple(A.shape)} and B {tuple(B.shape)} do not fit a weight of {shape}"
        )
    made = {}
    parts = rule.layout.split(B.mT if _is_transposed(rule) else B, model.config)
    for path, layer, part in zip(paths, layers, parts, strict=True):
        used = part.any(dim=0) if B.any() and len(parts) > 1 else torch.ones(len(A), dtype=torch.bool)
        rank = int(used.sum())
        if rank:
            rslora = config.get("use_rslora", False)
            adapter = Adapter(
                layer.in_features,
                layer.out_features,
                rank=rank,
                alpha=alpha * (sqrt(rank / len(A)) if rslora else rank / len(A)),
                dropout=config.get("lora_dropout", 0.0),
                rslora=rslora,
            )
            adapter.load_state_dict({"A": A[used], "B": part[:, used]})
            made[path] = adapter
    return made


def _rules(model: GPT | Llama) -> tuple[str, list[Rule]]:
    """Return a family in transformers that names its layers as the model's does, and the conversion rules."""
    family = {"rope": "llama", "alibi": "bloom"}.get(model.config.positions, "gpt2")
    with suppress(ModuleNotFoundError):  # transformers, which refuses a model without a family
        config_to_hf(model.config)
    return family, list(RULES[family](model.config, set()))


def _as_endings(wanted: Collection[str], modules: Collection[str]) -> list[str]:
    """Name modules by the last part of their names, such as ``q_proj``, where that means no others.

    >>> _as_endings(["0.q", "1.q", "1.v"], ["0.q", "0.v", "1.q", "1.v"])
    ['1.v', 'q']
    """
    others = {name.rpartition(".")[2] for name in modules if name not in wanted}
    endings = {name: name.rpartition(".")[2] for name in wanted}
    return sorted({name if ending in others else ending for name, ending in endings.items()})


def _is_transposed(rule: Rule) -> bool:
    return rule.layout in (CONV1D, CONV1D_QKV)


def _for_module(config: dict[str, Any], module: str) -> float:
    """Read a layer's alpha: the first pattern that matches the end of its name, as in PEFT."""
    for pattern, alpha in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return float(alpha)
    return float(config["lora_alpha"])


def _require_plain(config: dict[str, Any]) -> None:
    problems = [f"{field}={config[field]!r}" for field in FOREIGN if config.get(field)]
    problems += [f"peft_type={config['peft_type']!r}"] * (config["peft_type"] != "LORA")
    problems += [f"bias={config['bias']!r}"] * (config.get("bias", "none") != "none")
    start = config.get("init_lora_weights", True)
    problems += [f"init_lora_weights={start!r}"] * (start not in PLAIN_STARTS)
    if problems:
        raise ValueError(f"only plain LoRA can be read, not {', '.join(problems)}; merge it in PEFT instead")


def _require_exchangeable(rule: Rule) -> None:
    is_router = rule.theirs.endswith(("mlp.gate.weight", "block_sparse_moe.gate.weight"))
    if is_router or rule.layout in (EXPERTS, EXPERTS_GATE_UP):
        raise ValueError(
            f"{rule.theirs} is not a linear layer in transformers, so PEFT has no such adapter for it; "
            "merge_lora and remove_lora, then to_hf, carry the result over"
        )
