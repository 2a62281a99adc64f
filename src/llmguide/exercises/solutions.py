"""Files with solutions: certificates, which can be checked by running them again.

A certificate is JSON with the sources of solved exercises, the version of the guide, and a checksum. Anyone
can compute a checksum, so it shows accidents and careless edits. Proof is what the solutions do when they
run again in the sandbox. The file that the guide's page *Progress* exports contains solutions as well.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmguide import __version__
from llmguide.files import write_text

_FORMAT, _PROGRESS, _VERSION = "llmguide certificate", "llmguide progress", 1
_LARGEST = 4 << 20  # bytes


@dataclass(frozen=True)
class Solutions:
    """The contents of a file with solutions.

    Attributes:
        sources: Source code by the name of the exercise.
        changed: Whether the file was changed after it was written.
        guide: Version of the guide that wrote it; empty if the file does not contain it.
        seed: Seed of hidden tests; None if the file does not contain it.
    """

    sources: Mapping[str, str]
    changed: bool = False
    guide: str = ""
    seed: int | None = None


def write_certificate(path: Path, sources: Mapping[str, str], seed: int | None = None) -> None:
    """Write a certificate, whole or not at all.

    Args:
        path: File to write; an existing one is replaced.
        sources: Source code of the solutions, by the name of the exercise.
        seed: Seed of hidden tests, for the answers of a class.
    """
    content = {"format": _FORMAT, "version": _VERSION, "guide": __version__, "solutions": dict(sources)}
    if seed is not None:
        content["seed"] = seed
    write_text(path, json.dumps({**content, "sha256": _checksum(content)}, indent=1) + "\n")


def read_solutions(path: Path) -> Solutions:
    """Read a certificate, or the solved exercises of a file that the page *Progress* exported.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is neither.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give a certificate, which is one JSON file")
    content = _read(path)
    if content.get("format") == _PROGRESS:
        records = _table(path, content, "records")
        solved, drafts = _table(path, records, "exercises"), _table(path, records, "drafts")
        return Solutions(_sources(path, {name: drafts[name] for name in drafts if solved.get(name) is True}))
    if content.get("format") != _FORMAT:
        form = "a certificate of llmguide learn --certificate or a file that the page Progress exported"
        raise ValueError(f"{path} has the format {content.get('format')!r}; give {form}")
    if content.get("version") != _VERSION:
        message = f"{path} has the format version {content.get('version')!r}, and this llmguide {__version__}"
        raise ValueError(f"{message} reads only version {_VERSION}; install the newest llmguide")
    sources = _sources(path, _table(path, content, "solutions"))
    claimed, seed = content.pop("sha256", None), content.get("seed")
    if not isinstance(seed, int | None):
        raise ValueError(f"{path}: the seed must be a whole number, not {seed!r:.80}")  # noqa: TRY004  # content of a file
    return Solutions(sources, claimed != _checksum(content), str(content.get("guide", "")), seed)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"{path} has more than {_LARGEST:,} bytes; solutions of all exercises have fewer")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object; it may have been cut off when it was copied")  # noqa: TRY004  # content of a file
    return content


def _table(path: Path, content: Mapping[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(table := content.get(key), dict):
        raise ValueError(f"{path}: {key!r} must be a JSON object, not {table!r:.80}")  # noqa: TRY004  # content of a file
    return table


def _sources(path: Path, table: dict[str, Any]) -> dict[str, str]:
    for name, source in table.items():
        if not isinstance(source, str):
            raise ValueError(f"{path}: the solution of {name!r} must be source code, not {source!r:.80}")  # noqa: TRY004  # content of a file
    return table
