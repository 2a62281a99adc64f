"""A pretrained model that arrives in a registry package: unpacked once to a folder that `load` takes.

Leaves out: computing with the four bits of the file; the weights are what these stand for, in float32.
"""

import shutil
import warnings
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from llmguide.data.fetch import PACKAGES, damaged_files, fetch_package, write_sums
from llmguide.files import put
from llmguide.models.huggingface.convert import from_hf, to_hf


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
