"""Where the results of a run come from: versions, commit and command line."""

import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import platform, python_version
from typing import Any

from llmguide import __version__


def provenance() -> dict[str, str | None]:
    """Return the start time, the command line, the versions, and the commit of the package's source.

    >>> provenance()["llmguide"] == __version__
    True
    """
    packages = {name: _version(name) for name in ("torch", "transformers", "numpy")}
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["llmguide", *sys.argv[1:]]),
        "llmguide": __version__,
        "commit": _commit(),
        "python": python_version(),
        "platform": platform(),
        **packages,
    }


def digest(rows: Iterable[Any]) -> str:
    """Return the SHA-256 of rows of training data, each a line of JSON.

    >>> digest([{"prompt": "Hi"}, {"prompt": "Bye"}]) == digest([{"prompt": "Bye"}, {"prompt": "Hi"}])
    False
    """
    sha256 = hashlib.sha256()
    for row in rows:
        sha256.update(json.dumps(row, default=str).encode() + b"\n")
    return sha256.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the last commit that changed the package, or None if it is not in a Git repository."""
    command = ["git", "log", "-1", "--format=%H", "--", "."]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):  # Git is not installed, or the disk is slow
        return None
    return found.stdout.strip() or None
