"""Write the small model that the play pages run in the tab: `python -m site_tools.export_model RUN`.

The model is the one that ``llmguide pretrain`` trains with no option, in about five minutes on two cores:

    llmguide pretrain --output runs/pretrain
    python -m site_tools.export_model runs/pretrain

It writes ``src/llmguide/pages/model/weights.bin``, the weights rounded to 16 bits, and ``model.json``: shape,
tokens, layout of the weights, and where they come from, with their sha256. Another machine rounds
otherwise while it trains, so its weights differ, and its text.
"""

import argparse
import gzip
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import llmguide
from llmguide.cli.pretrain import DEFAULT
from llmguide.models import GPT
from llmguide.pages.small_model import FOLDER
from llmguide.runs.folder import load_run
from llmguide.runs.shape import Shape, decoder_config
from llmguide.tokenization.tokenizer import Tokenizer
from site_tools import write

LIMIT = 2_000_000  # bytes of both files


def packed(model: GPT) -> bytes:
    """The weights as ``gpt.js`` reads them: 16-bit floats, all lower bytes, then all upper bytes, zipped.

    Upper bytes hold sign and exponent, of which few values occur: together they shrink to two thirds.

    Raises:
        ValueError: A weight is too large for 16 bits, or not a number.
    """
    numbers = np.concatenate([tensor.numpy().ravel() for tensor in model.state_dict().values()])
    with np.errstate(over="ignore"):  # told in words below
        halves = numbers.astype("<f2")
    if not np.isfinite(halves).all():
        raise ValueError(
            "a weight is not a number, or above 65,504, the largest of 16 bits; export another run"
        )
    return gzip.compress(halves.view(np.uint8).reshape(-1, 2).T.tobytes(), mtime=0)


def described(model: GPT, tokenizer: Tokenizer) -> dict[str, Any]:
    """What ``gpt.js`` and ``bpe.js`` need besides the weights."""
    in_order = sorted(tokenizer.ranks, key=tokenizer.ranks.__getitem__)
    return {
        "config": asdict(model.config),
        "tensors": [[name, list(tensor.shape)] for name, tensor in model.state_dict().items()],
        "tokens": [token.decode("latin-1") for token in in_order[256:]],
        "special_tokens": tokenizer.special_tokens,
    }


def export(run: Path) -> int:
    """Write the files and return their bytes.

    Raises:
        ValueError: The run is not that of ``llmguide pretrain`` without options, or the files are too large.
    """
    model, tokenizer = load_run(run)
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    context_length = DEFAULT.context_length
    assert context_length is not None  # the defaults of the command name one
    n_tokens = DEFAULT.n_steps * DEFAULT.batch_size * DEFAULT.gradient_accumulation_steps * context_length
    expected = decoder_config(tokenizer.vocab_size, context_length, preset=None, shape=Shape())
    if not isinstance(model, GPT) or model.config != expected or report["tokens"] != n_tokens:
        raise ValueError(f"{run} was not made by llmguide pretrain without options; the note would be wrong")
    weights = packed(model)
    note = {
        "command": "llmguide pretrain",
        "llmguide": llmguide.__version__,
        "torch": torch.__version__.partition("+")[0],
        "bits_per_byte": report["bits_per_byte"],
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    text = json.dumps(note | described(model, tokenizer), separators=(",", ":")) + "\n"
    if len(weights) + len(text) > LIMIT:
        raise ValueError(
            f"{len(weights) + len(text):,} bytes are more than the {LIMIT:,} a reader is asked for"
        )
    write(FOLDER / "weights.bin", weights)
    write(FOLDER / "model.json", text)
    return len(weights) + len(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder that llmguide pretrain wrote")
    print(f"{export(parser.parse_args().run):,} bytes")
