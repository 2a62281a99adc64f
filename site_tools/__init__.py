"""Programs that run before the site is built, and the Markdown extensions it is built with."""

import hashlib
import os
import re
import shutil
import tomllib
from collections.abc import Collection, Iterable, Sequence, Set
from difflib import get_close_matches
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DATA = DOCS / "_data"
RUNTIME = ROOT / "runtime"  # what runs in the tab of the reader
CACHE = ROOT / ".cache"
REPOSITORY = "https://github.com/llmguide/llmguide/blob/main"
GENERATED = ("bibliography.md", "claims.md", "exercises.md", "glossary.md", "parity.md", "quiz.md", "quiz/")


def page_paths() -> list[Path]:
    """Every page that a person writes, in a fixed order; left out are those of programs and notes on them."""
    names = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    left_out = (*GENERATED, "reference/", "runtime/")
    return [DOCS / name for name in names if not name.startswith(left_out)]


def load_toml(text: str, name: str) -> dict[str, Any]:
    """Parse TOML, with errors that say where.

    Args:
        text: The TOML.
        name: How a person names its file.

    Raises:
        ValueError: It is no TOML; the message begins ``name:line:``.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(?P<problem>.*) \(at line (?P<line>\d+), column \d+\)", str(error))
        line = found["line"] if found else text.count("\n") + 1
        raise ValueError(f"{name}:{line}: {found['problem'] if found else error}") from None


def entry_in(path: Path, key: str, toml: str | None = None) -> str:
    """How a message names a table of a TOML file: ``docs/_data/facts.toml:12: [context-gpt3]``.

    Args:
        path: The file.
        key: Name of the table.
        toml: Text of the file; read from it by default.
    """
    text = path.read_text(encoding="utf-8") if toml is None else toml
    head = re.search(rf"""^\[["']?{re.escape(key)}["']?\]""", text, re.MULTILINE)
    line = text.count("\n", 0, head.start()) + 1 if head else 1
    return f"{path.relative_to(ROOT).as_posix()}:{line}: [{key}]"


def check_fields(where: str, fields: Collection[str], required: Set[str], optional: Set[str]) -> None:
    """Check the fields of an entry; ``where`` is how the message names it.

    Raises:
        ValueError: A required field is missing, or a field is neither required nor optional.
    """
    if unknown := sorted(set(fields) - required - optional):
        known = sorted(required | optional)
        raise ValueError(
            f"{where} has unknown fields {', '.join(unknown)}; known are {', '.join(known)}"
            + near(unknown[0], known)
        )
    if missing := required - set(fields):
        raise ValueError(f"{where} lacks {', '.join(sorted(missing))}")


def near(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known name that is most like it, if any is.

    >>> near("context-gtp3", ["context-gpt3", "gpt3-layers"])
    '; did you mean context-gpt3?'
    """
    return "".join(f"; did you mean {match}?" for match in get_close_matches(name, list(known), 1))


def generated_head(title: str, description: str, origin: str, *, edit: str | None = None) -> str:
    """The start of a page that a program writes; glossary terms are not linked in it.

    Args:
        title: Of the page.
        description: In a sentence.
        origin: The program and what it reads.
        edit: The file that the page's pencil opens; a page that is made from many files has no pencil.
    """
    front = f"---\ntitle: {title}\ndescription: {description}\nedit: {edit or 'false'}\n---"
    return f"{front}\n\n<!-- Written by {origin}. no-terms -->\n\n# {title}\n"


def letter_section(letter: str, entries: Sequence[str], rem: int) -> str:
    """A letter of a long list, which guide.css lays out when it is near.

    Args:
        letter: The heading.
        entries: In Markdown.
        rem: About how tall an entry is on a phone. Letters that are not laid out must not seem to overlap.
    """
    height = f"--height: {rem * (len(entries) + 1)}rem"
    body = "\n".join(entries)
    return f'## {letter}\n\n<div class="letter" style="{height}" markdown>\n\n{body}\n</div>\n'


def write(path: Path, content: str | bytes) -> None:
    """Write a file in one step, so that no reader sees half of it, and not at all if nothing changes.

    `llmguide.files` also forces each file to disk, which took 50 times as long for 500 pages.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


def hash_of(paths: Iterable[Path]) -> str:
    """The SHA-256 of the content of files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def chromium() -> str:
    """The Chromium or Chrome of the system; CHROMIUM names another program.

    Raises:
        FileNotFoundError: There is none.
    """
    names = [os.environ.get("CHROMIUM") or "chromium", "chromium", "chromium-browser", "google-chrome"]
    for name in names:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(
        "no Chromium or Chrome on PATH; install one, or name it: CHROMIUM=/path/to/chrome"
    )
