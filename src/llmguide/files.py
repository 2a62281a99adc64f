"""Files and folders that appear whole or not at all, also after a power failure.

What is written goes to a temporary name in the same folder, is forced to disk, and then gets its name: a
rename within a folder is atomic, across file systems it would be a copy. The folder is forced to disk last;
without that a power failure may bring it back as it was.

Reference: "All file systems are not created equal" (Pillai et al. 2014, OSDI).

Leaves out: several processes that write the same file; `llmguide.training.locks` keeps them out.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to, and move the result to its final name when the block ends.

    Args:
        path: Final name: of a file, which is replaced, or of a folder, which must not exist.

    Yields:
        A path in the same folder. What is there is deleted if the block raises, and an error that names it
        gets the final name.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as unfinished:
    ...         _ = unfinished.write_text("all of it")
    ...     [file.name for file in Path(folder).iterdir()]
    ['a.txt']
    """
    path = Path(path)
    with temporary(path.with_name(f".unfinished-{path.name}")) as unfinished:
        try:
            yield unfinished
            put(unfinished, path)
        except OSError as error:
            if error.filename == str(unfinished):
                error.filename = str(path)
            raise


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """Delete a file or folder before a block, as a process that was killed left it, and after it."""
    _delete(path)
    try:
        yield path
    finally:
        _delete(path)


def put(unfinished: Path, path: Path) -> None:
    """Force a file, or a folder and everything in it, to disk, then rename it.

    Files get the mode of new ones: safetensors writes what only its owner can read.

    Args:
        unfinished: Temporary path of the file or folder.
        path: Final path, on the same file system.
    """
    for inner in (*unfinished.rglob("*"), unfinished):
        if inner.is_file():
            reset_mode(inner)
        _sync(inner)
    unfinished.replace(path)
    sync_folder(path.parent)


def reset_mode(file: Path) -> None:
    """Give a file the mode of a new one."""
    if sys.platform == "emscripten":  # has one user, and says that the mask is 0o777
        return
    umask = os.umask(0o077)  # no other call returns it
    os.umask(umask)
    file.chmod(0o666 & ~umask)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text whole or not at all, as UTF-8."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def content_sha256(content: dict[str, Any]) -> str:
    """Return the SHA-256 of JSON content, without its key ``sha256``, under which the hash is stored.

    >>> content_sha256({"loss": 2.5}) == content_sha256({"sha256": "of the rest", "loss": 2.5})
    True
    """
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk."""
    _sync(folder)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file without loading the whole file into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if os.name != "posix" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
