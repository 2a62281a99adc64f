"""Programs that run before the site is built, and the Markdown extensions it is built with."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

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
