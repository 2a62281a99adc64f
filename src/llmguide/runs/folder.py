"""A trained model in a folder: weights, shape and tokenizer, enough to write with it.

``model.safetensors`` holds the tensors under our names, ``config.json`` the `ModelConfig`, and
``tokenizer.json`` what `Tokenizer.save` writes. What other programs read is written by
``llmguide.models.to_hf(model).save_pretrained(folder)``.
"""

import json
import sys
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from torch import Tensor, nn

from llmguide.config import ModelConfig, RopeScaling
from llmguide.files import replacing, write_json
from llmguide.models import GPT, Llama, build
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import distributed
from llmguide.training.locks import lock

FORMAT = "llmguide model, version 1"
TOKENIZER = "tokenizer.json"


def save_run(folder: str | Path, model: GPT | Llama, tokenizer: Tokenizer) -> None:
    """Write a model and its tokenizer; a folder that holds one is overwritten.

    >>> from tempfile import TemporaryDirectory
    >>> config = ModelConfig(vocab_size=257, context_length=4, n_layers=1, d_model=4, n_heads=2)
    >>> with TemporaryDirectory() as folder:
    ...     save_run(folder, build(config), Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"]))
    ...     load_run(folder)[0].config == config
    True
    """
    save_model(folder, model)
    tokenizer.save(Path(folder) / TOKENIZER)


def save_model(folder: str | Path, model: GPT | Llama) -> None:
    """Write a model whose tokens no tokenizer of texts has, such as the words of the tiny world."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_tensors(folder / "model.safetensors", state)
    write_json(folder / "config.json", {"format": FORMAT, "config": asdict(model.config)})


def load_run(folder: str | Path) -> tuple[GPT | Llama, Tokenizer]:
    """Open what `save_run` wrote.

    Args:
        folder: Holds the three files.

    Returns:
        The model, in evaluation mode on the CPU, and its tokenizer.

    Raises:
        ValueError: The folder holds no such model, or one that is damaged.
    """
    model = load_model(folder)
    path = Path(folder) / TOKENIZER
    if not path.exists():
        raise ValueError(f"{folder} holds a model without a tokenizer, as those of the tiny world are")
    return model, Tokenizer.load(path)


def load_model(folder: str | Path) -> GPT | Llama:
    """Open the model alone."""
    folder = Path(folder)
    if not is_run(folder):
        raise ValueError(f"{folder} holds no finished model of llmguide; llmguide pretrain writes one")
    load_file, damage = _safetensors().load_file, import_module("safetensors").SafetensorError
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"]
        content["rope_scaling"] = _rope_scaling(content["rope_scaling"])
        model: Any = build(ModelConfig(**content))
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (KeyError, OSError, RuntimeError, TypeError, ValueError, damage) as error:
        raise ValueError(f"{folder} holds a damaged model: {error}") from error
    opened: GPT | Llama = model.eval()
    return opened


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


def claim(output: Path, run: dict[str, Any]) -> None:
    """Refuse to mix runs in one folder, be it now or from before; it is then this process's until its end."""
    lock(output)
    path = output / "run.json"
    if not path.exists():
        write_json(path, run)
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); give another --output, or delete it") from error
    changed = [
        f"{name}={value!r} (was {earlier.get(name)!r})"
        for name, value in run.items()
        if earlier.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"{output} holds a run with other choices: {', '.join(changed)}; give another --output"
        )


def say(text: str) -> None:
    """Write a line, in one of the processes."""
    if distributed.world().rank == 0:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def n_params(model: nn.Module) -> int:
    """Count the parameters, a shared one once."""
    return sum(parameter.numel() for parameter in model.parameters())


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file whole or not at all."""
    with replacing(path) as unfinished:
        _safetensors().save_file(tensors, unfinished)


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
