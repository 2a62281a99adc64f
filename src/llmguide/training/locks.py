"""One run, one folder: a second process that would write to it is refused, and told which one is there.

The lock is the operating system's, on a file that stays: it ends with the process that holds it, however that
ends, so no lock is left behind by a crash. A process does not lock itself out.

Leaves out: systems and file systems without POSIX locks, such as Windows, where nothing is refused, and other
machines where the file system does not share locks with them.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


def lock(folder: str | Path) -> int | None:
    """Claim a folder, which is made if it is missing, until this process ends or the lock is closed.

    Args:
        folder: Of a run.

    Returns:
        The lock, which `os.close` gives up; None where there are no such locks.

    Raises:
        ValueError: Another process holds it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     held = lock(folder)
    ...     int((Path(folder) / NAME).read_text()) == os.getpid()
    True
    """
    path = Path(folder) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):  # a file system without locks
            os.close(descriptor)
            return None
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise ValueError(
            f"{folder} is in use by a run in process {holder}; wait for it, stop it, or give another folder"
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, b"%d\n" % os.getpid())
    return descriptor


@contextmanager
def locked(folder: str | Path | None) -> Iterator[None]:
    """Hold the lock of a folder while a block runs; None: there is no folder.

    >>> with locked(None):
    ...     pass
    """
    held = None if folder is None else lock(folder)
    try:
        yield
    finally:
        if held is not None:
            os.close(held)
