"""A trained model in a folder: weights, shape and tokenizer, enough to write with it.

`llmguide.models.saved` writes and opens the model; ``tokenizer.json`` holds what `Tokenizer.save` writes.
"""

import json
import sys
from pathlib import Path
from typing import Any

from torch import nn

from llmguide.files import write_json
from llmguide.models import GPT, Llama, save
from llmguide.models.saved import load_saved
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import distributed
from llmguide.training.locks import lock

TOKENIZER = "tokenizer.json"


def save_run(folder: str | Path, model: GPT | Llama, tokenizer: Tokenizer) -> None:
    """Write a model and its tokenizer; a folder that holds one is overwritten.

    >>> from tempfile import TemporaryDirectory
    >>> from llmguide import ModelConfig, build
    >>> config = ModelConfig(vocab_size=257, context_length=4, n_layers=1, d_model=4, n_heads=2)
    >>> with TemporaryDirectory() as folder:
    ...     save_run(folder, build(config), Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"]))
    ...     load_run(folder)[0].config == config
    True
    """
    save(model, folder)
    tokenizer.save(Path(folder) / TOKENIZER)


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
    return as_decoder(load_saved(folder))


def as_decoder(model: nn.Module) -> GPT | Llama:
    """Refuse a model that writes no text.

    Raises:
        ValueError: The model is an encoder or an encoder-decoder.
    """
    if not isinstance(model, GPT | Llama):
        raise ValueError(f"a {type(model).__name__} generates no text; use a decoder")  # noqa: TRY004  # a choice of the user
    return model


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
