"""Checkpoints that survive a crash: whole or absent, checked when read, and one older always at hand.

A file is written as `llmguide.files` says, so a process that dies in the middle leaves the earlier
checkpoints as they were. The name ends with the SHA-256 of the content (``step-00000200-<64 hex digits>.pt``;
``sha256sum`` recomputes it), and the content is what `torch.save` writes, so that `torch.load` reads it
without this module. A sharded model, which `llmguide.training.distributed_checkpoint` writes, is a folder
of that name without ``.pt``; the hash is then that of its ``manifest.json``, which holds the hash of every
file.

Loading runs no code from the file: it is read with ``weights_only=True``, which admits tensors, numbers,
strings, lists, tuples and dicts; the index of shards, a pickle of `torch.distributed.checkpoint`, is read by
`llmguide.training.pickles`.

Reference: `torch.hub` (the hash in the name).

Leaves out: writing in the background, several runs in one folder, and the generator of NumPy.
"""

import json
import random
import re
import shutil
import warnings
from collections.abc import Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from llmguide.files import put, sha256, temporary
from llmguide.training.sharded import RUN, read_index, read_shards

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-([0-9]{1,18})-([0-9a-f]{64})(\.pt)?")


def save(
    folder: str | Path, state: dict[str, Any], *, step: int, keep_last: int = 3, pinned: Collection[int] = ()
) -> Path:
    """Write a checkpoint so that it is either whole or not there, then delete the oldest beyond `keep_last`.

    Args:
        folder: Made if it is missing. One run, one folder: `llmguide.training.locks` keeps other processes
            out.
        state: Tensors, numbers, strings, lists, tuples and dicts.
        step: Orders the checkpoints. Those of later steps are left alone, those of the same step replaced.
        keep_last: Number of checkpoints up to this step that remain, this one included. With 1 there is
            nothing to go back to if the disk damages it.
        pinned: Steps whose checkpoints are not deleted, however old.

    Returns:
        The file.

    Raises:
        ValueError: `keep_last` is below 1, `step` negative, or the state holds other things than those named.
        OSError: The disk is full, for example. The checkpoints of before are intact.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = save(folder, {"weights": torch.tensor([1.0, 2.0])}, step=200)
    ...     path.name[:14], load(path)["weights"].tolist()
    ('step-00000200-', [1.0, 2.0])
    """
    require_places(step, keep_last)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with temporary(folder / ".unfinished") as unfinished:
        with unfinished.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch's "unexpected pos" hides that the disk is full
                raise error.__context__ or error from None
        try:
            _require_loadable(unfinished)
        except UnpicklingError as error:
            raise ValueError(
                "the state holds objects that could run code when read; save only tensors, numbers, strings, "
                "lists, tuples and dicts"
            ) from error
        return finish(unfinished, step=step, keep_last=keep_last, pinned=pinned)


def finish(unfinished: Path, *, step: int, keep_last: int, pinned: Collection[int] = ()) -> Path:
    """Give a written file, or a folder of shards with its manifest, its name; delete what is too old.

    Args:
        unfinished: What was written, in the folder where it stays.
        step: As in `save`.
        keep_last: As in `save`.
        pinned: As in `save`.

    Returns:
        Its new path.
    """
    folder = unfinished.parent
    ending, hashed = ("", unfinished / MANIFEST) if unfinished.is_dir() else (".pt", unfinished)
    path = folder / f"step-{step:08d}-{sha256(hashed)}{ending}"
    if path.is_dir():  # the same content was saved before; a file would be replaced
        shutil.rmtree(path)
    put(unfinished, path)
    found = checkpoints(folder)
    replaced = [old for old in found if step_of(old) == step and old != path]
    older = [old for old in found if step_of(old) < step]
    for old in replaced + [old for old in older[keep_last - 1 :] if step_of(old) not in pinned]:
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
        ValueError: The name has no hash, the content does not match it or is not a checkpoint, or the file
            cannot be read.
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
    """Raise ValueError if a checkpoint is damaged, unreadable, or without a hash in its name."""
    match = _NAME.fullmatch(path.name)
    if not match:
        raise ValueError(f"{path} is not named step-NUMBER-SHA256.pt, so its content cannot be checked")
    try:
        if not path.is_dir():
            _require_hash(path, match[2])
        else:
            _require_hash(path / MANIFEST, match[2])
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            for name, value in manifest.items():
                _require_hash(path / name, value)
    except (json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"{path / MANIFEST} is no manifest: {error}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}; use an earlier checkpoint") from error
    try:
        _require_loadable(path)
    except Exception as error:  # what is no checkpoint raises anything
        raise ValueError(f"{path} is no checkpoint: {type(error).__name__}: {error}") from error


def _require_hash(file: Path, expected: str) -> None:
    found = sha256(file) if file.is_file() else "that of no file"
    if found != expected:
        raise ValueError(f"{file} is damaged: its SHA-256 is {found}; use an earlier checkpoint")


def _require_loadable(path: Path) -> None:
    """Refuse at once what `load` would refuse when it is needed; mapped, this reads no tensor."""
    if path.is_dir():
        read_index(path)
        path = path / RUN
    torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def load_latest(folder: str | Path, *, map_location: str | torch.device = "cpu") -> dict[str, Any] | None:
    """Read the newest checkpoint that is intact, and warn of each damaged or unreadable one on the way to it.

    Args:
        folder: Where `save` wrote.
        map_location: Device of the tensors.

    Returns:
        The state, or None if the folder holds no checkpoint or does not exist.

    Raises:
        ValueError: There are checkpoints, and none can be read. To start again would hide that.

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
            f"all {len(found)} checkpoints in {folder} are damaged or unreadable; to start again, give "
            "another folder"
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


def require_places(step: int, keep_last: int) -> None:
    """Raise ValueError if there is no such step, or if nothing would be kept."""
    if keep_last < 1 or step < 0:
        raise ValueError(f"keep_last={keep_last} must be at least 1 and step={step} at least 0")


def step_of(path: Path) -> int:
    """Return the step in a checkpoint's name.

    Raises:
        ValueError: It is not the name of a checkpoint.
    """
    match = _NAME.fullmatch(path.name)
    if not match:
        raise ValueError(f"{path} is not named step-NUMBER-SHA256.pt")
    return int(match[1])
