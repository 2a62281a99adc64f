"""The files of a model with 4-bit weights: safetensors of a few megabytes each, read without a library.

A matrix of the model, such as ``blocks.0.attention.q_proj``, is stored as the four tensors of a `Q4Linear`,
``blocks.0.attention.q_proj.codes`` and so on, and the tied embedding and output head as ``head``. The other
tensors are the weights of norms.

Leaves out: all dtypes but uint8, int16 and float32, and models that `Q4Linear` cannot represent: those with
biases, experts or an untied head.

Reference: the format of safetensors, https://github.com/huggingface/safetensors.
"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.files import replacing
from llmguide.models.factory import build
from llmguide.models.llama import Llama
from llmguide.nn.q4 import Q4Embedding, Q4Linear

PARTS = ("codes", "scales", "zeros", "row_scales")
PRECISE = ("blocks.0.", "blocks.1.")  # later blocks amplify the rounding errors of these
DTYPES = {"U8": np.uint8, "I16": np.int16, "F32": np.float32}


def load_q4(folder: Path, config: ModelConfig) -> Llama:
    """Load a model with 4-bit weights.

    Args:
        folder: Folder with the files.
        config: Hyperparameters of the model.

    Raises:
        KeyError, OSError, ValueError: A file is missing or damaged.
    """
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("model-*.safetensors")):
        tensors |= read_safetensors(path)
    names = [name.removesuffix(".codes") for name in tensors if name.endswith(".codes")]
    layers = {name: Q4Linear(*(tensors.pop(f"{name}.{part}") for part in PARTS)) for name in names}
    for name, layer in layers.items():
        layer.is_precise = name.startswith(PRECISE)

    # One block, 2 channels wide, and one token are all that is drawn at random before it is replaced.
    sizes = {"n_layers": 1, "vocab_size": 1, "d_model": 2, "d_ff": 1}
    model: Any = cast(Llama, build(config.replace(**sizes, head_dim=config.head_dim)))
    for name in layers:
        if name.startswith("blocks.0."):
            model.set_submodule(name, nn.Identity())
    model.blocks = nn.ModuleList(deepcopy(model.blocks[0]) for _ in range(config.n_layers))
    model.config = config
    model.head = layers.pop("head")
    model.head.correction = layers.pop("head.correction", None)
    model.tokens = Q4Embedding(model.head)
    for name, layer in layers.items():
        model.set_submodule(name, layer)
    for name, parameter in model.named_parameters():
        parameter.data = tensors.pop(name)
    if tensors:
        raise ValueError(f"the model has no {', '.join(tensors)}")
    return cast(Llama, model)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file, each into memory of its own."""
    content = memoryview(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8:start]))
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (start + offset for offset in entry["data_offsets"])
        if end > len(content):
            raise ValueError(f"{path.name} is truncated")
        array = np.frombuffer(content[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors


def write_float32(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write float32 tensors as a safetensors file, atomically and without a library.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_float32(Path(folder, "a.safetensors"), {"x": torch.tensor([[1.0, 2.0]])})
    ...     read_safetensors(Path(folder, "a.safetensors"))
    {'x': tensor([[1., 2.]])}
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    arrays = [tensor.detach().cpu().contiguous().float().numpy() for tensor in tensors.values()]
    end = 0
    for name, array in zip(tensors, arrays, strict=True):
        start, end = end, end + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers start at a multiple of 8 bytes
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            file.write(array.tobytes())
