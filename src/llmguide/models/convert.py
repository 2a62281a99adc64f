"""Weights in and out: models of Hugging Face transformers, in memory or in a folder, to ours and back.

`from_hf` and `to_hf` convert a model in memory; `load` reads a folder of safetensors files, or downloads one
by its name on the hub. Every tensor is checked by name and shape before anything is built, and all that is
wrong is listed at once. `llmguide.models.hf_config` and `llmguide.models.hf_weights` say what corresponds to
what.
"""

import json
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from llmguide.config import ModelConfig
from llmguide.models.encoder import Encoder, MaskedLM
from llmguide.models.factory import build
from llmguide.models.gpt import GPT
from llmguide.models.hf_config import config_from_hf, config_to_hf
from llmguide.models.hf_weights import RULES, Rule
from llmguide.models.llama import Llama

# Tensors without a counterpart: masks and tables that can be computed, BERT's next-sentence head, and that
# one of its two names for the output bias which the model does not use.
REDUNDANT = re.compile(
    r"\.attn\.(masked_)?bias$|\.rotary_emb\.inv_freq$|\.position_ids$"
    r"|^cls\.seq_relationship\.|^cls\.predictions\.(decoder\.)?bias$"
)
TIED = ("lm_head.weight", "cls.predictions.decoder.weight")
BASES = {"gpt2": "transformer.", "bloom": "transformer.", "bert": "bert."}  # the others: "model."

Convertible = GPT | Llama | Encoder | MaskedLM


def from_hf(hf_model: Any) -> Convertible:
    """Make our model from one of transformers, with a copy of its weights.

    Args:
        hf_model: A GPT-2, BLOOM, LLaMA, Mistral, Mixtral, Qwen2, Qwen3 or BERT model (with its language-model
            head; a model without one works if its head is tied, and a bare ``BertModel`` becomes an
            `Encoder`).

    Returns:
        The model that gives the same logits, in the same mode (training or evaluation), dtype and device;
        without dropout.

    Raises:
        ValueError: If the model has no equal here, or tensors are missing or unexpected.
    """
    weights = {name: tensor.detach().clone() for name, tensor in hf_model.state_dict().items()}
    return _assemble(hf_model.config, weights).train(hf_model.training)


def to_hf(model: Convertible) -> Any:
    """Make a model of transformers from ours, with a copy of its weights.

    Its ``save_pretrained(folder)`` writes a folder that `load` and other programs, such as vLLM, read.

    Args:
        model: A decoder, `Encoder` or `MaskedLM`.

    Returns:
        The model of transformers that gives the same logits, in the same mode, dtype and device.

    Raises:
        ValueError: If no family of transformers has this combination of choices.
    """
    transformers = import_module("transformers")  # optional, and slow to import

    hf_config = config_to_hf(model.config)
    if isinstance(model, Encoder):
        hf_model = transformers.BertModel(hf_config, add_pooling_layer=model.config.pooler)
    elif isinstance(model, MaskedLM):
        if model.config.pooler:
            raise ValueError(
                "transformers has no masked-LM head beside a pooler; convert model.encoder, or drop it"
            )
        hf_model = transformers.BertForMaskedLM(hf_config)
    else:
        hf_model = transformers.AutoModelForCausalLM.from_config(hf_config)

    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    theirs = hf_model.state_dict()
    base = "bert." if isinstance(model, Encoder) else ""  # a bare BertModel leaves it out
    names = {base + name for name in theirs}
    with torch.no_grad():
        for rule in _rules(hf_config.model_type, model.config, names, state):
            theirs[rule.theirs.removeprefix(base)].copy_(
                rule.layout.join([state[name] for name in rule.ours], model.config)
            )
    example = next(model.parameters())
    return hf_model.to(device=example.device, dtype=example.dtype).train(model.training)


def load(folder_or_name: str | Path, *, dtype: torch.dtype | None = None) -> Convertible:
    """Load a model from a folder of safetensors files, or from the hub.

    Files are mapped into memory and checked before use: tensors that keep their layout, most of a LLaMA, are
    not copied and only read from disk when first used. Needs ``llmguide[hf]``.

    Args:
        folder_or_name: A folder with ``config.json`` and ``*.safetensors``, or a name on the hub such as
            ``openai-community/gpt2``, which is downloaded once.
        dtype: What to convert the weights to; None keeps that of the files.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        ValueError: If there is neither such a folder nor such a model on the hub, a file is missing or
            truncated, tensors are missing, unexpected or of the wrong shape (all are listed), or the model
            has no equal here.
    """
    folder = Path(folder_or_name)
    if not folder.is_dir():
        folder = _download(str(folder_or_name))
    hf_config = import_module("transformers").AutoConfig.from_pretrained(folder)
    model = _assemble(hf_config, _read(folder))
    return model.to(dtype).eval()


def _download(name: str) -> Path:
    """Fetch the files of a model on the hub, unless they are here already."""
    hub = import_module("huggingface_hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, hub.errors.HFValidationError) as error:  # no network, no such model, no such name
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{name} is no folder here and could not be downloaded from the hub ({reason}); give the path of "
            "a folder, or connect to the network and check the name (owner/model)"
        ) from error


def _read(folder: Path) -> dict[str, Tensor]:
    """Map the tensors of all files of a folder into memory."""
    safetensors = import_module("safetensors")
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    missing = [name for name in names if not (folder / name).exists()]
    if missing or not names:
        raise ValueError(f"{folder} lacks {', '.join(missing) or 'a *.safetensors file'}; download it again")

    weights: dict[str, Tensor] = {}
    for name in names:
        try:
            weights |= import_module("safetensors.torch").load_file(folder / name)
        except safetensors.SafetensorError as error:
            size = (folder / name).stat().st_size
            raise ValueError(
                f"{folder / name} ({size:,} bytes) is truncated or damaged ({error}); download it again"
            ) from error
    return weights


def _assemble(hf_config: Any, weights: dict[str, Tensor]) -> Convertible:
    """Build our model around tensors of transformers."""
    family = hf_config.model_type
    config = config_from_hf(hf_config)
    weights = _canonical(family, weights)
    config = replace(config, pooler="bert.pooler.dense.weight" in weights)
    is_bare = family == "bert" and not any(name.startswith("cls.predictions.") for name in weights)
    with torch.device("meta"):  # shapes without numbers: nothing is drawn only to be overwritten
        model = cast("Convertible", Encoder(config) if is_bare else build(config))

    expected = model.state_dict()
    rules = _rules(family, config, set(weights), expected)
    shapes = {rule.theirs: rule.layout.join([expected[n] for n in rule.ours], config).shape for rule in rules}
    _check(shapes, weights, tied=config.tie_embeddings)
    state: dict[str, Tensor] = {}
    for rule in rules:
        for name, part in zip(rule.ours, rule.layout.split(weights[rule.theirs], config), strict=True):
            state[name] = part.contiguous()
    model.load_state_dict(state, assign=True)
    return model


def _canonical(family: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names they have in a model with its head: old and bare checkpoints use others."""
    base = BASES.get(family, "model.")
    is_bare = not any(name.startswith(base) for name in weights)

    def rename(name: str) -> str:
        name = re.sub(
            r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
        )
        return base + name if is_bare and not name.startswith(("lm_head.", "cls.")) else name

    return {rename(name): tensor for name, tensor in weights.items()}


def _rules(family: str, config: ModelConfig, names: set[str], ours: dict[str, Tensor]) -> list[Rule]:
    """Rules for the tensors that our model has: a LLaMA has no biases, a tied model no head."""
    rules = [rule for rule in RULES[family](config, names) if rule.ours[0] in ours]
    uncovered = ours.keys() - {name for rule in rules for name in rule.ours}
    assert not uncovered, f"no rule of {family} covers {sorted(uncovered)}"
    return rules


def _check(shapes: dict[str, torch.Size], weights: dict[str, Tensor], *, tied: bool) -> None:
    """Compare the tensors that are needed with those that are there, and list every difference."""
    unexpected = [
        name
        for name in weights.keys() - shapes.keys()
        if not REDUNDANT.search(name) and not (tied and name in TIED)
    ]
    problems = [f"missing: {name} {tuple(shapes[name])}" for name in shapes.keys() - weights.keys()]
    problems += [f"unexpected: {name} {tuple(weights[name].shape)}" for name in unexpected]
    problems += [
        f"wrong shape: {name} {tuple(weights[name].shape)} instead of {tuple(shape)}"
        for name, shape in shapes.items()
        if name in weights and weights[name].shape != shape
    ]
    if problems:
        raise ValueError(
            "the tensors do not fit the model that the config describes:\n  " + "\n  ".join(sorted(problems))
        )
