"""Read and write the files of a token stream, with their SHA-256 hashes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt

from llmguide.files import replacing, sha256

AGAIN = "run write_shards again, which redoes what is damaged"


def open_array(
    folder: Path, record: dict[str, Any], dtype: "np.dtype[Any]", verify: bool
) -> UInt[np.ndarray, " n"]:
    path = folder / record["file"]
    n_bytes = record["n_items"] * dtype.itemsize
    if not path.is_file() or path.stat().st_size != n_bytes:
        found = f"{path.stat().st_size} bytes" if path.is_file() else "no file"
        raise ValueError(f"{path} should have {n_bytes} bytes, there is {found}; {AGAIN}")
    if verify and sha256(path) != record["sha256"]:
        raise ValueError(f"{path} is damaged: its SHA-256 is not the recorded one; {AGAIN}")
    if not record["n_items"]:
        return np.empty(0, dtype)  # an empty file cannot be memory-mapped
    return np.memmap(path, dtype, mode="r")


def as_json(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()} | content, indent=1).encode()


def read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        digest = content.pop("sha256")
        intact = digest == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    except FileNotFoundError:
        raise ValueError(
            f"{path} is missing: the stream was never finished; run write_shards again"
        ) from None
    except (ValueError, KeyError, AttributeError):
        intact = False
    if not intact:
        raise ValueError(f"{path} is damaged; {AGAIN}")
    return content


def write(path: Path, content: bytes) -> None:
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
