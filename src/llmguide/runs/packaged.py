"""Pretrained models by name: `load` also opens those that arrive in a registry package, unpacked once.

Leaves out: computing with the four bits of the file; the weights are what these stand for, in float32.
"""

import shutil
import warnings
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from llmguide import models
from llmguide.data.fetch import PACKAGES, damaged_files, fetch_package, write_sums
from llmguide.files import put
from llmguide.models import GPT, Encoder, Llama
from llmguide.models.huggingface.convert import from_hf, load_hf, to_hf
from llmguide.models.saved import Model
from llmguide.runs.folder import as_decoder


def unpacked(name: str) -> Path:
    """Return the folder of a packaged model, with ``config.json``, safetensors and its tokenizer.

    The first call downloads the package and writes the folder beside it in the cache, or not at all. Each
    call compares the files with the hashes recorded then, and writes a damaged folder again.

    Args:
        name: A package of `PACKAGES` with a GGUF file, such as ``smollm2-135m-instruct``.

    Raises:
        ModuleNotFoundError: ``llmguide[packaged]`` is not installed.
        ValueError: The name is unknown or the file damaged.
        ConnectionError: The package could not be downloaded.
    """
    package = fetch_package(name)
    folder = package.with_name(f"{package.name}-unpacked")
    if folder.is_dir() and not (damaged := damaged_files(folder)):
        return folder
    try:
        import_module("gguf"), import_module("accelerate")
        transformers = import_module("transformers")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{name} needs pip install "llmguide[packaged]"') from error
    file = next(package.glob("*/*.gguf"))
    source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    if folder.is_dir():
        warnings.warn(f"{', '.join(damaged)} in {folder} are damaged and are written again", stacklevel=2)
        shutil.rmtree(folder)
    with TemporaryDirectory(dir=folder.parent) as temporary:  # same file system, so that rename is atomic
        written = Path(temporary, "written")
        to_hf(from_hf(model)).save_pretrained(written)
        transformers.AutoTokenizer.from_pretrained(**source).save_pretrained(written)
        write_sums(written)
        put(written, folder)
    return folder


def is_packaged(name: str) -> bool:
    """Tell whether a model of that name arrives in a registry package.

    >>> is_packaged("smollm2-135m-instruct"), is_packaged("openai-community/gpt2"), is_packaged("names")
    (True, False, False)
    """
    return name in PACKAGES and any(pattern.endswith(".gguf") for pattern in PACKAGES[name].members)


def load(path_or_name: str | Path, *, dtype: torch.dtype | None = None) -> Model | Encoder:
    """Load a trained model from a folder, a packaged model or the hub.

    Args:
        path_or_name: A folder that `save` or a run wrote, a folder of transformers, the name of a packaged
            model such as ``smollm2-135m-instruct``, or a name on the hub such as ``openai-community/gpt2``.
            What is not here yet is downloaded once.
        dtype: Data type of the weights; None keeps that of the files.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        ModuleNotFoundError: If an optional dependency is not installed; the message says which.
        ValueError: If there is no such model, its files are damaged, or it has no equal here.

    >>> from tempfile import TemporaryDirectory
    >>> from llmguide import ModelConfig, build, load, save
    >>> config = ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3)
    >>> with TemporaryDirectory() as folder:
    ...     save(build(config), folder)
    ...     model = load(folder)
    >>> model.config.d_model, model.training
    (12, False)
    """
    return models.load(_place(path_or_name), dtype=dtype)


def open_transformers(
    name: str | Path, *, dtype: torch.dtype | None = torch.float32
) -> tuple[GPT | Llama, Any]:
    """Open a decoder and its tokenizer as they were published, from a folder, a package or the hub.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        ValueError: There is no such model, or it writes no text.
    """
    if Path(name).is_dir() and not (Path(name) / "config.json").exists():
        raise ValueError(
            f"{name} holds no finished model (no config.json); start the command that writes it again"
        )
    try:
        auto = import_module("transformers").AutoTokenizer
    except ModuleNotFoundError as error:
        message = f'{name} is no run folder of llmguide; others need pip install "llmguide[hf]"'
        raise ModuleNotFoundError(message) from error
    place = _place(name)
    return as_decoder(load_hf(place, dtype=dtype)), auto.from_pretrained(place)


def _place(name: str | Path) -> str | Path:
    return unpacked(str(name)) if is_packaged(str(name)) else name
