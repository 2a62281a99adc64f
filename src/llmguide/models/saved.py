"""A model in a folder: `save` writes it, and `load_saved` opens it.

``model.safetensors`` holds the tensors under our names and ``config.json`` the `ModelConfig`. For other
programs, ``llmguide.models.to_hf(model).save_pretrained(folder)`` writes the form of transformers.
"""

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from llmguide.arguments import check_type
from llmguide.config.model_config import ModelConfig
from llmguide.config.rope_scaling import RopeScaling
from llmguide.extras import import_extra
from llmguide.files import replacing, write_json
from llmguide.models.encoder import Encoder, MaskedLM
from llmguide.models.encoder_decoder import Transformer
from llmguide.models.factory import build, require_as_built
from llmguide.models.gpt import GPT
from llmguide.models.llama import Llama
from llmguide.models.q4_files import load_q4

FORMAT = "llmguide model, version 1"
Model = GPT | Llama | MaskedLM | Transformer  # what `build` makes


def save(model: Model | Encoder, folder: str | Path) -> None:
    """Save a model to a folder, over one that is already there.

    Args:
        model: A model that `build` or `from_hf` makes.
        folder: Folder for ``model.safetensors`` and ``config.json``; it is made if it does not exist.

    Raises:
        ValueError: If the model is a bare `Encoder`, or has other tensors than its config describes, as after
            `apply_lora`.

    >>> from tempfile import TemporaryDirectory
    >>> from llmguide import ModelConfig, build, load, save
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3))
    >>> with TemporaryDirectory() as folder:
    ...     save(model, folder)
    ...     load(folder).config == model.config
    True
    """
    fix = "save takes a model of llmguide; transformers has save_pretrained"
    check_type("model", model, Model | Encoder, fix)
    if isinstance(model, Encoder):
        raise ValueError("a bare Encoder cannot be saved; save the model that holds it")  # noqa: TRY004  # a choice of the user
    require_as_built(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_tensors(folder / "model.safetensors", state)
    write_json(folder / "config.json", {"format": FORMAT, "config": asdict(model.config)})


def load_saved(folder: str | Path, *, dtype: torch.dtype | None = None) -> Model:
    """Load a model that `save` wrote, in evaluation mode, on the CPU.

    Args:
        folder: Folder of the model.
        dtype: Data type of the weights; None keeps that of the file.

    Raises:
        ValueError: If there is no such model, or its files are damaged.
    """
    folder = Path(folder)
    if not is_saved(folder):
        raise ValueError(f"{folder} has no finished model of llmguide; llmguide pretrain writes one")
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config_from_dict(content["config"])
        model = load_q4(folder, config) if content.get("weights") == "q4" else _load_weights(folder, config)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds a damaged model: {error}") from error
    return model.to(dtype).eval()


def _load_weights(folder: Path, config: ModelConfig) -> Model:
    model = build(config)
    model.load_state_dict(read_tensors(folder / "model.safetensors"), assign=True)  # keeps the dtype
    return model


def is_saved(folder: Path) -> bool:
    """Return whether a folder holds a model that `save` wrote.

    >>> is_saved(Path("/no/such/folder"))
    False
    """
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def config_from_dict(content: dict[str, Any]) -> ModelConfig:
    """Return the config whose fields were saved, as `dataclasses.asdict` gives them."""
    return ModelConfig(**content | {"rope_scaling": _rope_scaling(content["rope_scaling"])})


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file whole or not at all, with the SHA-256 of its tensors in its metadata.

    Args:
        path: File to write or replace.
        tensors: Contiguous tensors on the CPU by name.
    """
    metadata = {"format": "pt", "sha256": _sha256(tensors)}
    with replacing(path) as unfinished:
        import_extra("safetensors.torch", "cli", path).save_file(tensors, unfinished, metadata)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of `write_tensors`, or another safetensors file, whose content is then not checked.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is damaged.
    """
    safetensors = import_extra("safetensors", "cli", path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            # copied, because products of memory that is not aligned may differ in the last bit
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # no mapping
            expected = (file.metadata() or {}).get("sha256")
    except safetensors.SafetensorError as error:
        raise ValueError(error) from error
    if expected not in (None, _sha256(tensors)):
        raise ValueError(f"the tensors of {path.name} are not those that were written; copy it again")
    return tensors


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _rope_scaling(content: dict[str, Any] | None) -> RopeScaling | None:
    for kind in get_args(RopeScaling):
        if content is not None and {field.name for field in fields(kind)} == set(content):
            scaling: RopeScaling = kind(**content)
            return scaling
    return None
