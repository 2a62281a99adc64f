"""Run folders: save and load a trained model with its configuration and tokenizer.

`llmguide.models.saved` saves and loads the model; ``tokenizer.json`` is written by `Tokenizer.save`.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from llmguide.files import write_json
from llmguide.models import GPT, Llama, save
from llmguide.models.saved import load_saved
from llmguide.post_training.adapters.quantized_linear import QuantizedLinear
from llmguide.runs.provenance import provenance
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import distributed
from llmguide.training.checkpoint import checkpoints, step_of
from llmguide.training.locks import HOLDER, NAME, lock, unlock

TOKENIZER = "tokenizer.json"
RUN = "run.json"
claimed: dict[Path, bool] = {}  # folders of the runs of this command, and whether it has created them


def save_run(folder: str | Path, model: GPT | Llama, tokenizer: Tokenizer) -> None:
    """Save a model and its tokenizer; those already in the folder are overwritten.

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
    """Load a model and its tokenizer from a folder of `save_run`.

    Args:
        folder: Folder that `save_run` wrote.

    Returns:
        The model, in evaluation mode on the CPU, and its tokenizer.

    Raises:
        ValueError: The folder has no such model, or a damaged one.
    """
    model = load_model(folder)
    path = Path(folder) / TOKENIZER
    if not path.exists():
        raise ValueError(
            f"{folder} has a model without a tokenizer, such as those of the tiny world; "
            "tokenizer.save writes one beside the model, as tokenizer.json"
        )
    return model, Tokenizer.load(path)


def load_model(folder: str | Path) -> GPT | Llama:
    """Load the model of a folder without its tokenizer."""
    return as_decoder(load_saved(folder))


def as_decoder(model: nn.Module) -> GPT | Llama:
    """Return a model that is a decoder, and raise an error for others.

    Raises:
        ValueError: The model is an encoder or an encoder-decoder.
    """
    if not isinstance(model, GPT | Llama):
        raise ValueError(f"{type(model).__name__} cannot generate text; use a decoder")  # noqa: TRY004  # a choice of the user
    return model


def claim(output: Path, run: dict[str, Any]) -> None:
    """Lock a run folder until this process ends, and write its options and provenance to ``run.json``.

    The claim of a run that ended before it wrote anything else is replaced. Paths are compared as paths:
    ``books``, ``books/`` and ``./books`` are one corpus.

    Raises:
        ValueError: The folder has a run with other options or on other data, or is in use; or it is a file.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; give a folder")
    is_new = not output.exists()
    lock(output)
    claimed[output] = is_new
    path = output / RUN
    if not path.exists() or _is_unused(output):
        write_json(path, run | {"starts": [provenance()]})
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); give another --output, or delete it") from error
    changed = {name: value for name, value in run.items() if not _is_same(value, earlier.get(name))}
    is_other_data = changed.pop("data_sha256", None) is not None
    if changed:  # other options may select other data, so they are the cause
        listed = ", ".join(_differences(changed, earlier))
        raise ValueError(f"{output} has a run with other {listed}; give another --output")
    if is_other_data:
        raise ValueError(
            f"{output} has a run on other data: {run['data']} has changed since then; give another --output"
        )
    record(output, starts=[*earlier.get("starts", []), provenance()])


def _is_same(value: Any, was: Any) -> bool:
    """Return whether two values of an option are equal, or lead to the same place if they are paths."""
    if isinstance(value, str) and isinstance(was, str):
        return os.path.realpath(value) == os.path.realpath(was)
    return bool(value == was)


def _differences(options: dict[str, Any], earlier: dict[str, Any]) -> Iterator[str]:
    """Yield the options that differ from those of an earlier run, also in groups, with both values."""
    for name, value in options.items():
        was = earlier.get(name)
        if isinstance(value, dict) and isinstance(was, dict):
            yield from _differences(value, was)
        elif value != was:
            yield f"{name}={value!r} (was {was!r})"


def record(output: Path, **values: Any) -> None:
    """Add values to ``run.json`` that may change when the run is resumed, in place of earlier ones."""
    path = output / RUN
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, earlier | values)


def withdraw(*, is_refused: bool = False) -> None:
    """Delete the folders that this command has created and claimed but not used.

    Args:
        is_refused: Whether to delete a tokenizer and tokens, too, as long as no step has been logged: they
            belong to options that do not work.
    """
    for output, is_new in claimed.items():
        has_trained = any(output.rglob("metrics.jsonl")) or any(output.rglob("step-*"))
        if is_new and output.exists() and (_is_unused(output) or (is_refused and not has_trained)):
            unlock(output)
            shutil.rmtree(output)


def how_to_resume() -> str:
    """Say how to go on with an interrupted run; an empty text means that nothing was saved."""
    if distributed.world().rank > 0:
        return "stopped"
    withdraw()
    places = {path.parent for output in claimed for path in (output / "checkpoints").rglob("step-*")}
    newest = max(
        (path for place in places for path in checkpoints(place)),
        key=lambda path: path.stat().st_mtime,
        default=None,
    )
    if newest:
        return (
            f"stopped after step {step_of(newest):,}; repeat the command to resume from the last checkpoint "
            f"in {newest.parent}"
        )
    if any(output.exists() for output in claimed):
        return "stopped before the first checkpoint; repeat the command to go on"
    return ""


def _is_unused(output: Path) -> bool:
    return all(path.is_dir() or path.name in (RUN, NAME, HOLDER) for path in output.rglob("*"))


def say(text: str) -> None:
    """Print a line, in rank 0 only."""
    if distributed.world().rank == 0:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def n_params(model: nn.Module) -> int:
    """Count the parameters, those of quantized matrices included; shared ones count once."""
    quantized = (layer for layer in model.modules() if isinstance(layer, QuantizedLinear))
    n_quantized = sum(layer.in_features * layer.out_features for layer in quantized)
    return n_quantized + sum(parameter.numel() for parameter in model.parameters())
