"""Crash-safe checkpoints: written atomically, verified by a hash when read, with older ones kept.

A file is written atomically by `llmguide.files`, so a process that dies while writing leaves the earlier
checkpoints intact. The name ends with the SHA-256 of the content (``step-00000200-<64 hex digits>.pt``;
``sha256sum`` recomputes it), and the content is what `torch.save` writes, so that `torch.load` reads it
without this module. A sharded model, which `llmguide.training.distributed_checkpoint` writes, is a folder of
that name without ``.pt``; the hash is then that of its ``manifest.json``, which holds the hash of every file.

Loading runs no code from the file: it is read with ``weights_only=True``, which allows tensors, numbers,
strings, lists, tuples and dicts; the index of shards, a pickle of `torch.distributed.checkpoint`, is read by
`llmguide.training.pickles`.

Reference: `torch.hub` (the hash in the name).

Leaves out: asynchronous writing, several runs in one folder, and the random state of NumPy.
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
from llmguide.training.sharded_tensors import RUN, read_index, read_shards

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-([0-9]{1,18})-([0-9a-f]{64})(\.pt)?")


def save(
    folder: str | Path, state: dict[str, Any], *, step: int, keep_last: int = 3, pinned: Collection[int] = ()
) -> Path:
    """Write a checkpoint atomically, then delete the oldest beyond `keep_last`.

    Args:
        folder: Checkpoint folder of one run; created if missing. `llmguide.training.locks` keeps other
            processes out.
        state: State of tensors, numbers, strings, lists, tuples and dicts.
        step: Step of the checkpoint, at least 0. A checkpoint of the same step is replaced; later ones stay.
        keep_last: Number of checkpoints up to this step to keep, at least 1, this one included. With 1 there
            is no fallback if it is damaged.
        pinned: Steps whose checkpoints are not deleted, however old.

    Returns:
        The path of the file.

    Raises:
        ValueError: `keep_last` or `step` is too small, or the state holds an object of another kind.
        OSError: Writing failed, for example because the disk is full. Earlier checkpoints are intact.

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
            except RuntimeError as error:  # torch's "unexpected pos" hides the error of the full disk
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
    """Move a finished file, or folder of shards with its manifest, to its final name; delete old checkpoints.

    Args:
        unfinished: Written file or folder, in the checkpoint folder.
        step: Step of the checkpoint, as in `save`.
        keep_last: Number of checkpoints to keep, as in `save`.
        pinned: Steps whose checkpoints are not deleted, as in `save`.

    Returns:
        The final path.
    """
    folder = unfinished.parent
    ending, hashed = ("", unfinished / MANIFEST) if unfinished.is_dir() else (".pt", unfinished)
    path = folder / f"step-{step:08d}-{sha256(hashed)}{ending}"
    if path.is_dir():  # a folder with the same content exists; a file would be replaced
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
    """Load a checkpoint after comparing its content with the hash in its name.

    Args:
        path: File or folder that `save` wrote, with its name unchanged; shards are combined.
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
    """Load a checkpoint that has been verified."""
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
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, AttributeError) as error:
        raise ValueError(f"{path / MANIFEST} is not a manifest: {error}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}; use an earlier checkpoint") from error
    try:
        _require_loadable(path)
    except Exception as error:  # other files raise errors of any kind
        raise ValueError(f"{path} is not a checkpoint: {type(error).__name__}: {error}") from error


def _require_hash(file: Path, expected: str) -> None:
    found = sha256(file) if file.is_file() else "that of no file"
    if found != expected:
        raise ValueError(f"{file} is damaged: its SHA-256 is {found}; use an earlier checkpoint")


def _require_loadable(path: Path) -> None:
    """Raise the errors that `load` would raise later; with memory mapping, this reads no tensor."""
    if path.is_dir():
        read_index(path)
        path = path / RUN
    torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def load_latest(folder: str | Path, *, map_location: str | torch.device = "cpu") -> dict[str, Any] | None:
    """Load the newest intact checkpoint, with a warning for each newer one that is damaged or unreadable.

    Args:
        folder: Checkpoint folder.
        map_location: Device of the tensors.

    Returns:
        The state, or None if the folder holds no checkpoint or does not exist.

    Raises:
        ValueError: There are checkpoints, but none can be read; starting from scratch would hide that.

    >>> load_latest("/no/such/folder") is None
    True
    """
    path = newest_intact(folder)
    return None if path is None else read(path, map_location=map_location)


def newest_intact(folder: str | Path) -> Path | None:
    """Find the checkpoint that `load_latest` loads, with the same warnings and errors."""
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
    """Return the state of Python's and torch's random number generators, including those of all CUDA devices.

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
    """Restore the random number generators to a state of `random_state`.

    CUDA generators are restored only if the number of devices is the same; on other hardware a run does not
    reproduce its numbers anyway.
    """
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([device_state.cpu() for device_state in state["cuda"]])


def require_places(step: int, keep_last: int) -> None:
    """Raise ValueError if the step is negative, or if no checkpoint would be kept."""
    if keep_last < 1 or step < 0:
        raise ValueError(f"keep_last={keep_last} must be at least 1 and step={step} at least 0")


def has_name(path: Path) -> bool:
    """Return whether a path has the name of a checkpoint.

    >>> has_name(Path("step-00000200.pt"))
    False
    """
    return _NAME.fullmatch(path.name) is not None


def step_of(path: Path) -> int:
    """Return the step in a checkpoint's name.

    Raises:
        ValueError: The path does not have the name of a checkpoint.
    """
    match = _NAME.fullmatch(path.name)
    if not match:
        raise ValueError(f"{path} is not named step-NUMBER-SHA256.pt")
    return int(match[1])
