"""Fetch a model from the Hugging Face hub: its config first, then only the files that are read.

A repository often holds the weights in several formats. A family that cannot be converted is refused when
only its config has been fetched.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from llmguide.extras import import_extra
from llmguide.models.huggingface.config import CONFIGS, config_from_hf

ADAPTER = "adapter_config.json"  # file that only the folder of a PEFT adapter has
FILES = [
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template*",
    "adapter_*.json",
    "adapter_model.safetensors",
]


def fetch_model(name: str) -> Path:
    """Fetch a model or an adapter of the hub, unless it is in the cache, and return its folder.

    Args:
        name: Name on the hub, such as ``openai-community/gpt2``.

    Raises:
        ModuleNotFoundError: ``llmguide[hf]`` is not installed.
        ValueError: There is no such model, or its family is not supported.
    """
    hub = required("huggingface_hub", name)
    errors = import_module("huggingface_hub.errors")
    try:
        try:
            read_config(Path(hub.hf_hub_download(name, "config.json")).parent)
        except errors.EntryNotFoundError:
            hub.hf_hub_download(name, ADAPTER)
        return Path(hub.snapshot_download(name, allow_patterns=FILES))
    except (OSError, errors.HFValidationError) as error:  # no network, no such model, no such name
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{name} is no folder here and could not be downloaded from the hub ({reason}); give the path of "
            "a folder, or connect to the network and check the name (owner/model)"
        ) from error


def read_config(folder: Path) -> Any:
    """Read the ``config.json`` of transformers, and refuse a model that cannot be converted.

    Args:
        folder: Folder with ``config.json``; no weights are needed.

    Raises:
        ModuleNotFoundError: ``llmguide[hf]`` is not installed.
        ValueError: The file is damaged, or the model has no equal here.
    """
    auto = required("transformers", folder).AutoConfig
    invalid = import_module("huggingface_hub.errors").StrictDataclassError
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        family = content["model_type"]
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}/config.json cannot be read ({error!r}); download it again") from error
    if family not in CONFIGS:
        raise ValueError(
            f"model_type {family!r} is not among {', '.join(CONFIGS)}; choose a model of one of these "
            "families, or run this one with transformers"
        )
    if "quantization_config" in content:
        raise ValueError(
            f"{folder} holds quantized weights, which are not read; choose the unquantized model"
        )
    try:
        config = auto.from_pretrained(folder)
    except (OSError, TypeError, invalid) as error:
        raise ValueError(f"{folder}/config.json cannot be read ({error}); download it again") from error
    config_from_hf(config)
    return config


def required(module: str, name: object) -> Any:
    """Import a module of ``llmguide[hf]``, and name the extra where it is missing."""
    return import_extra(module, "hf", name)
