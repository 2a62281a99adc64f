"""The small model of the guide: a GPT with a vocabulary of 2,048 tokens, trained on presidential speeches.

``model/model.json`` records the command that trained it, the versions of llmguide and PyTorch, and the
SHA-256 of the weights. The site serves the same files to the widgets of the play pages.
"""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmguide.config.model_config import ModelConfig
from llmguide.models.gpt import GPT
from llmguide.tokenization.tokenizer import Tokenizer

FOLDER = Path(__file__).with_name("model")


def small_model() -> tuple[GPT, Tokenizer]:
    """Load the small model and its tokenizer.

    Returns:
        Model in evaluation mode, whose parameters require no gradient, and tokenizer.

    >>> model, tokenizer = small_model()
    >>> ids = tokenizer.encode("<|endoftext|>The Congress of the United", allowed_special="all")
    >>> tokenizer.decode([model(torch.tensor([ids]))[0, -1].argmax().item()])
    ' States'
    """
    description = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
    model = GPT(ModelConfig(**description["config"])).eval().requires_grad_(False)
    model.load_state_dict(unpacked((FOLDER / "weights.bin").read_bytes(), description))
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [token.encode("latin-1") for token in description["tokens"]]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    return model, Tokenizer(ranks, special_tokens=description["special_tokens"])


def unpacked(weights: bytes, description: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors in a file of weights.

    The file is a gzip of 16-bit floats: the lower bytes of all numbers, then their upper bytes.

    Args:
        weights: Content of the file.
        description: Content of ``model.json``, whose ``tensors`` are the name and shape of each tensor.

    Returns:
        State dict for `torch.nn.Module.load_state_dict`, in float32.
    """
    planes = np.frombuffer(gzip.decompress(weights), np.uint8).reshape(2, -1)
    halves = torch.from_numpy(np.ascontiguousarray(planes.T).view("<f2").ravel().astype(np.float32))
    names, shapes = zip(*description["tensors"], strict=True)
    parts = halves.split([math.prod(shape) for shape in shapes])  # type: ignore[no-untyped-call]
    return {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
