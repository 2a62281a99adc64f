"""A trained model in a folder: weights, shape and tokenizer, enough to write with it.

``model.safetensors`` holds the tensors under our names, ``config.json`` the `ModelConfig`, and
``tokenizer.json`` what `Tokenizer.save` writes. What other programs read is written by
``llmguide.models.to_hf(model).save_pretrained(folder)``.
"""

import json
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from torch import nn

from llmguide.config import ModelConfig, RopeScaling
from llmguide.models import GPT, Llama, build
from llmguide.tokenizer import Tokenizer

FORMAT = "llmguide model, version 1"


def save_run(folder: str | Path, model: GPT | Llama, tokenizer: Tokenizer) -> None:
    """Write a model and its tokenizer; a folder that holds one is overwritten.

    >>> from tempfile import TemporaryDirectory
    >>> config = ModelConfig(vocab_size=257, context_length=4, n_layers=1, d_model=4, n_heads=2)
    >>> with TemporaryDirectory() as folder:
    ...     save_run(folder, build(config), Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"]))
    ...     load_run(folder)[0].config == config
    True
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder / "tokenizer.json")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _safetensors().save_file(state, folder / "model.safetensors")
    content = {"format": FORMAT, "config": asdict(model.config)}
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_run(folder: str | Path) -> tuple[GPT | Llama, Tokenizer]:
    """Open what `save_run` wrote.

    Args:
        folder: Holds the three files.

    Returns:
        The model, in evaluation mode on the CPU, and its tokenizer.

    Raises:
        ValueError: The folder holds no such model, or one that is damaged.
    """
    folder = Path(folder)
    if not is_run(folder):
        raise ValueError(f"{folder} holds no finished model of llmguide; llmguide pretrain writes one")
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"]
    content["rope_scaling"] = _rope_scaling(content["rope_scaling"])
    model: Any = build(ModelConfig(**content))
    model.load_state_dict(_safetensors().load_file(folder / "model.safetensors"))
    return model.eval(), Tokenizer.load(folder / "tokenizer.json")


def is_run(folder: Path) -> bool:
    """Whether a folder holds what `save_run` wrote.

    >>> is_run(Path("/no/such/folder"))
    False
    """
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def n_params(model: nn.Module) -> int:
    """Count the parameters, a shared one once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _rope_scaling(content: dict[str, Any] | None) -> RopeScaling | None:
    for kind in get_args(RopeScaling):
        if content is not None and {field.name for field in fields(kind)} == set(content):
            scaling: RopeScaling = kind(**content)
            return scaling
    return None


def _safetensors() -> Any:
    try:
        return import_module("safetensors.torch")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('safetensors is not installed: pip install "llmguide[cli]"') from error
