"""Checkpoints that survive a crash: whole or absent, checked when read, and one older always at hand.

A file is written under a temporary name, forced to disk, and renamed; a rename within a folder is atomic, so
a process that dies in the middle leaves the earlier checkpoints as they were. The name ends with the SHA-256
of the content (``step-00000200-<64 hex digits>.pt``; ``sha256sum`` recomputes it), and the content is what
`torch.save` writes, so that `torch.load` reads it without this module. A model in shards, which
`llmguide.distributed.save` writes, is a folder of that name without ``.pt``; the hash is then that of its
``manifest.json``, which holds the hash of every file.

Loading runs no code from the file: it is read with ``weights_only=True``, which admits tensors, numbers,
strings, lists, tuples and dicts. (The index of shards is a pickle of `torch.distributed.checkpoint`, and that
can run code: read shards of your own runs only.)

References: "All file systems are not created equal" (Pillai et al. 2014, OSDI; why fsync comes before rename
and the folder is synced after it); `torch.hub` (the hash in the name).

Leaves out: writing in the background, several runs in one folder, and the generator of NumPy.
"""

import hashlib
import json
import os
import random
import re
import shutil
import warnings
from collections.abc import Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from llmguide.sharded import read_shards

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d+)-([0-9a-f]{64})(\.pt)?")


def save(
    folder: str | Path, state: dict[str, Any], *, step: int, keep: int = 3, pinned: Collection[int] = ()
) -> Path:
    """Write a checkpoint so that it is either whole or not there, then delete the oldest beyond `keep`.

    Args:
        folder: Made if it is missing. One run, one folder: `llmguide.locks` keeps other processes out.
        state: Tensors, numbers, strings, lists, tuples and dicts.
        step: Orders the checkpoints. Those of later steps are left alone, those of the same step replaced.
        keep: How many of the steps up to this one remain, this one included. With 1 there is nothing to go
            back to if the disk damages it.
        pinned: Steps whose checkpoints are not deleted, however old.

    Returns:
        The file.

    Raises:
        ValueError: `keep` is below 1, `step` negative, or the state holds other things than those named.
        OSError: The disk is full, for example. The checkpoints of before are intact.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = save(folder, {"weights": torch.tensor([1.0, 2.0])}, step=200)
    ...     path.name[:14], load(path)["weights"].tolist()
    ('step-00000200-', [1.0, 2.0])
    """
    require_places(step, keep)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # in the same folder, because a rename across file systems is a copy and not atomic
    unfinished = folder / ".unfinished"
    try:
        with unfinished.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch's "unexpected pos" hides that the disk is full
                raise error.__context__ or error from None
            file.flush()
            os.fsync(file.fileno())
        _require_loadable(unfinished)
        path = finish(unfinished, step=step, keep=keep, pinned=pinned)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def finish(unfinished: Path, *, step: int, keep: int, pinned: Collection[int] = ()) -> Path:
    """Give a written file, or a folder of shards with its manifest, its name; delete what is too old.

    Args:
        unfinished: What was written, on disk already, in the folder where it stays.
        step: As in `save`.
        keep: As in `save`.
        pinned: As in `save`.

    Returns:
        Its new path.
    """
    folder = unfinished.parent
    ending, hashed = ("", unfinished / MANIFEST) if unfinished.is_dir() else (".pt", unfinished)
    path = folder / f"step-{step:08d}-{sha256(hashed)}{ending}"
    if path.is_dir():  # the same content was saved before; a file would be replaced
        shutil.rmtree(path)
    unfinished.replace(path)
    sync_folder(folder)
    found = checkpoints(folder)
    replaced = [old for old in found if step_of(old) == step and old != path]
    older = [old for old in found if step_of(old) < step]
    for old in replaced + [old for old in older[keep - 1 :] if step_of(old) not in pinned]:
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
    return path


def load(path: str | Path, *, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint after comparing its content with the hash in its name.

    Args:
        path: What `save` wrote, under its own name; shards are put together.
        map_location: Device of the tensors.

    Returns:
        The state.

    Raises:
        ValueError: The name holds no hash, or the content differs from it.
    """
    require_intact(Path(path))
    return read(Path(path), map_location=map_location)


def read(path: Path, *, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint that was found intact."""
    if path.is_dir():
        return read_shards(path)
    state: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    return state


def require_intact(path: Path) -> None:
    """Raise ValueError if a checkpoint's content differs from the hash in its name, or has none there."""
    match = _NAME.fullmatch(path.name)
    if not match:
        raise ValueError(f"{path} is not named step-NUMBER-SHA256.pt, so its content cannot be checked")
    hashes = {path: match[2]}
    if path.is_dir():
        hashes = {path / MANIFEST: match[2]}
        if (path / MANIFEST).is_file() and sha256(path / MANIFEST) == match[2]:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            hashes = {path / name: value for name, value in manifest.items()}
    for file, expected in hashes.items():
        found = sha256(file) if file.is_file() else "that of no file"
        if found != expected:
            raise ValueError(f"{file} is damaged: its SHA-256 is {found}; use an earlier checkpoint")


def load_latest(folder: str | Path, *, map_location: str | torch.device = "cpu") -> dict[str, Any] | None:
    """Read the newest checkpoint that is intact, and warn of each damaged one on the way to it.

    Args:
        folder: Where `save` wrote.
        map_location: Device of the tensors.

    Returns:
        The state, or None if the folder holds no checkpoint or does not exist.

    Raises:
        ValueError: There are checkpoints, and all are damaged. To start again would hide that.

    >>> load_latest("/no/such/folder") is None
    True
    """
    path = newest_intact(folder)
    return None if path is None else read(path, map_location=map_location)


def newest_intact(folder: str | Path) -> Path | None:
    """Find the checkpoint that `load_latest` reads, with the same warnings and errors."""
    found = checkpoints(folder)
    for path in found:
        try:
            require_intact(path)
        except ValueError as error:
            warnings.warn(f"skipped a checkpoint: {error}", stacklevel=3)
        else:
            return path
    if found:
        raise ValueError(
            f"all {len(found)} checkpoints in {folder} are damaged; to start again, give another folder"
        )
    return None


def checkpoints(folder: str | Path) -> list[Path]:
    """List the finished checkpoints of a folder, newest step first.

    >>> checkpoints("/no/such/folder")
    []
    """
    found = [path for path in Path(folder).glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)


def random_state() -> dict[str, Any]:
    """Read the state of Python's and torch's random number generators, those of all CUDA devices included.

    >>> state = random_state()
    >>> first = torch.rand(1)
    >>> set_random_state(state)
    >>> torch.rand(1).equal(first)
    True
    """
    return {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back to a state of `random_state`.

    CUDA devices are set only where their number is the same; a run that moves to other hardware does not
    repeat its numbers anyway.
    """
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([device_state.cpu() for device_state in state["cuda"]])


def require_places(step: int, keep: int) -> None:
    """Raise ValueError if there is no such step, or if nothing would be kept."""
    if keep < 1 or step < 0:
        raise ValueError(f"keep={keep} must be at least 1 and step={step} at least 0")


def step_of(path: Path) -> int:
    """Return the step in a checkpoint's name."""
    return int(path.name.split("-")[1])


def sha256(path: Path) -> str:
    """Hash a file without holding it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_loadable(path: Path) -> None:
    """Refuse at once what `load` would refuse when it is needed; mapped, this reads no tensor."""
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        raise ValueError(
            "the state holds objects that could run code when read; save only tensors, numbers, strings, "
            "lists, tuples and dicts"
        ) from error


def sync_folder(folder: Path) -> None:
    """Force the new name to disk; without it a power failure may bring the folder back as it was."""
    if os.name == "posix":  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
