"""Lay out the language models that cells use in the reader's tab.

The tab downloads a model after the reader has agreed, and keeps it (runtime/model_storage.mjs). A site may be
built where a model cannot be fetched: its cells then do not run in the tab, and say why.
"""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from site_tools import hash_of
from site_tools.tab.vendor import VENDOR

FILE_LIMIT = 16_000_000  # bytes: what an interrupted download may lose, and a phone holds twice for a moment
BUDGET = 80_000_000  # bytes of all files of a model


@dataclass(frozen=True)
class Model:
    """A model, which code asks for by name."""

    name: str
    title: str
    memory: int  # megabytes that a tab needs while the model generates
    files: Callable[[], list[Path]]  # none where they cannot be had


def _smollm2() -> list[Path]:
    from site_tools.tab.language_model import model_files  # noqa: PLC0415 (imports torch; most uses need the name only)

    return model_files()


MODELS = (Model("smollm2-135m-instruct", "SmolLM2-135M-Instruct", 500, _smollm2),)


def place(model: Model, vendor: Path = VENDOR) -> dict[str, Any] | None:
    """Copy the files of a model below ``vendor``; return its entry in runtime.json, or None without files.

    Raises:
        ValueError: The model exceeds a limit.
    """
    paths = model.files()
    sizes = {path: path.stat().st_size for path in paths}
    if sum(sizes.values()) > BUDGET or any(size > FILE_LIMIT for size in sizes.values()):
        raise ValueError(f"{model.title} exceeds {FILE_LIMIT:,} bytes a file or {BUDGET:,} in all: {sizes}")
    folder = vendor / f"{model.name}-{hash_of(paths)[:12]}"
    for old in vendor.glob(f"{model.name}-*"):
        if not paths or old != folder:
            shutil.rmtree(old)
    if not paths:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for path, size in sizes.items():
        target = folder / path.name
        if not target.is_file() or target.stat().st_size != size:
            shutil.copyfile(path, target)
    files = [
        {
            "url": f"{folder.name}/{path.name}",
            "bytes": size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path, size in sizes.items()
    ]
    entry = {"name": model.name, "title": model.title, "pattern": model.name, "memory": model.memory}
    return {**entry, "megabytes": round(sum(sizes.values()) / 1e6, 1), "files": files}
