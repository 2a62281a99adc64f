"""Bytecode that Python compiles in the tab, as an archive for the next start: python_memory.mjs stores it.

Packed bytecode carries a hash of its source instead of a time (PEP 552). Python compares the two at each
import, so that a module that has changed since is compiled again.
"""

import importlib.util
import io
import sys
import zipfile
from pathlib import Path

SUFFIX = ".pyc"
_CHECKED = (3).to_bytes(4, "little")  # flags: named by a hash of the source, which each import compares


def keep_apart(folder: str) -> None:
    """Let Python write bytecode below a folder, and look for it there."""
    Path(folder).mkdir(exist_ok=True)  # importlib makes no folder of the root
    sys.dont_write_bytecode = False
    sys.pycache_prefix = folder


def pack(modules: str, *, more_than: int) -> tuple[int, bytes] | None:
    """Return how many modules below a folder have bytecode, and an archive of it.

    None: no more than so many have.
    """
    root = Path(str(sys.pycache_prefix))
    paths = list((root / modules.lstrip("/")).rglob(f"*{SUFFIX}"))
    if len(paths) <= more_than:
        return None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in paths:
            archive.writestr(path.relative_to(root).as_posix(), _checked(path))
    return len(paths), buffer.getvalue()


def _checked(path: Path) -> bytes:
    """Bytecode of a file, with the hash of its source."""
    content = path.read_bytes()
    source = Path(importlib.util.source_from_cache(str(path))).read_bytes()
    return content[:4] + _CHECKED + importlib.util.source_hash(source) + content[16:]
