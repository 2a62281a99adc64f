"""Lock a run folder, so that a second process cannot write to it.

The lock is one of the filelock library, on a file in the folder. The operating system releases it when the
process ends, even by a crash. A process may acquire the lock of a folder several times; the folder is free
when all of them are released. The error of a second process names the one that holds the lock.

Leaves out: other machines whose file system does not share locks, and the browser, which has one process.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME = ".lock"
HOLDER = ".lock-holder"  # the process id, in a file of its own: on Windows a locked file cannot be read
_until_exit: dict[Path, list[Any]] = {}  # filelock releases a lock without references


def lock(folder: str | Path) -> None:
    """Lock a folder until this process ends.

    Args:
        folder: Run folder; created if missing.

    Raises:
        ValueError: Another process holds the lock.
    """
    held = _acquired(folder)
    _until_exit.setdefault(Path(folder).resolve(), []).append(held)


def unlock(folder: str | Path) -> None:
    """Release the locks of `lock` on a folder before this process ends."""
    for held in _until_exit.pop(Path(folder).resolve(), []):
        held.release()


@contextmanager
def locked(folder: str | Path | None) -> Iterator[None]:
    """Hold the lock of a folder while a block runs.

    Args:
        folder: Run folder, created if missing; None: nothing is locked.

    Raises:
        ValueError: Another process holds the lock.

    >>> with locked(None):
    ...     pass
    """
    held = None if folder is None else _acquired(folder)
    try:
        yield
    finally:
        if held is not None:
            held.release()


def _acquired(folder: str | Path) -> Any:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(sys, "_emscripten_info"):
        return None
    from filelock import FileLock, Timeout  # noqa: PLC0415  # not available in the browser

    # a singleton counts how often this process has acquired the lock of a file
    held = FileLock(folder.resolve() / NAME, blocking=False, is_singleton=True, thread_local=False)
    holder = folder / HOLDER
    try:
        held.acquire()
    except Timeout:
        process = holder.read_text(encoding="ascii").strip() if holder.exists() else "unknown"
        raise ValueError(
            f"{folder} is in use by a run in process {process}; wait for it, stop it, or give another folder"
        ) from None
    holder.write_text(f"{os.getpid()}\n", encoding="ascii")
    return held
