"""Access to an application: a token, and files for the token and the database that only their owner can read.

The token is in the file ``app.token`` in the run's folder. It stays the same from one start to the next, so
open pages and editors keep working; if the file is missing, the next start writes a new token. Windows lacks
these file modes, so other users may be able to read the files there, and each start writes a new token.
"""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path


def token_of(folder: Path) -> str:
    """Read the token of a run's application, or create one.

    A token that other users could read is replaced.

    Args:
        folder: Run folder; created if missing.

    Raises:
        OSError: The file cannot be read or written.
    """
    path = folder / "app.token"
    if path.is_file() and not path.stat().st_mode & 0o077:
        token = path.read_text(encoding="utf-8").strip()
        if re.fullmatch(r"[\w-]{32,}", token):
            return token
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    token = secrets.token_urlsafe(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return token


def make_private(path: Path) -> None:
    """Make a SQLite database readable and writable by its owner only.

    SQLite gives its other files the same mode.

    Args:
        path: File of the database; it and its folder are created if missing.

    Raises:
        OSError: The file cannot be created, or belongs to another user.
        ValueError: Others can read the file, and it is no database.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    if path.stat().st_mode & 0o077:  # only then, since closing a file ends the process's locks on it
        with path.open("rb") as file:
            if file.read(16) not in {b"", b"SQLite format 3\0"}:
                raise ValueError(f"{path} is not a SQLite database; give the path of another file")
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        with suppress(FileNotFoundError):
            path.with_name(name).chmod(0o600)
