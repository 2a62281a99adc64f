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
        ValueError: There is no such model, its family is not supported, or the hub cannot be reached.
    """
    folder = fetch_config(name)
    if not (folder / ADAPTER).is_file():
        read_config(folder)
    return _fetch(name, FILES, commit=folder.name)


def fetch_config(name: str) -> Path:
    """Fetch only the config of a model or an adapter; the arguments and errors are those of `fetch_model`."""
    folder = _fetch(name, ["config.json", ADAPTER])
    if not any((folder / file).is_file() for file in ("config.json", ADAPTER)):
        raise ValueError(f"{name} on the hub has no config.json: it is not a model of transformers")
    return folder


def _fetch(name: str, files: list[str], *, commit: str | None = None) -> Path:
    """Fetch files of a repository; without a network, this fails at the first request, not after retries."""
    hub = required("huggingface_hub", name)
    errors = import_module("huggingface_hub.errors")
    try:
        return Path(hub.snapshot_download(name, revision=commit, allow_patterns=files))
    except (OSError, errors.HFValidationError) as error:  # no network, no such model, no such name
        reason = str(error).splitlines()[0].removeprefix("Got: ")
        if hub.constants.HF_HUB_OFFLINE:
            reason = "HF_HUB_OFFLINE is set"
        raise ValueError(
            f"there is no folder {name} here, and the hub sent no model of that name ({reason}); "
            "check the path, or the name (owner/model) and the network"
        ) from error


def read_config(folder: Path) -> Any:
    """Read the ``config.json`` of transformers, and refuse a model that cannot be converted.

    Args:
        folder: Folder with ``config.json``; no weights are needed.

    Raises:
        ModuleNotFoundError: ``llmguide[hf]`` is not installed.
        ValueError: The file is damaged, or the model has no counterpart here.
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
