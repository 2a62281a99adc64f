"""One run, one folder: a second process that would write to it is refused, and told which one holds it.

The lock is that of the filelock library, on a file in the folder. The operating system releases it when the
process ends, however that happens. A process may lock a folder several times; the folder is free again when
all of these locks are released.

Leaves out: other machines, where the file system does not share locks with them; and the browser tab, which
has one process.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME = ".lock"
HOLDER = ".lock-holder"  # the process id; Windows lets nobody read a file that is locked
_until_exit: list[Any] = []  # filelock releases a lock that nothing refers to


def lock(folder: str | Path) -> None:
    """Claim a folder until this process ends.

    Args:
        folder: Run folder; created if it is missing.

    Raises:
        ValueError: Another process holds the lock.
    """
    _until_exit.append(_acquired(folder))


@contextmanager
def locked(folder: str | Path | None) -> Iterator[None]:
    """Hold the lock of a folder while a block runs.

    Args:
        folder: Run folder, created if it is missing; None locks nothing.

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
    from filelock import FileLock, Timeout  # noqa: PLC0415  # not in the browser tab

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
