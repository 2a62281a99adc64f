"""The headings of a page, the ids that links may name, and the way from page to page."""

import os.path
import re
from collections.abc import Iterator
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

from markdown import Markdown

from llmguide.pages.entries import near
from site_tools import DOCS, page_paths
from site_tools.fences import prose_lines
from site_tools.markdown.exercises import LINE as EXERCISE

_TITLE = re.compile(r"^# (.+?)(?: *\{[^}\n]*\})?$", re.MULTILINE)


def title(text: str) -> str:
    r"""The title of a page, given its Markdown.

    >>> title("---\ndescription: d\n---\n\n# Attention { #attention }\n")
    'Attention'

    Raises:
        ValueError: There is none.
    """
    found = _TITLE.search(text)
    if found is None:
        raise ValueError("a page needs a title: # Title")
    return found[1]


@cache
def headings(text: str) -> dict[str, str]:
    """For each heading of a page, its id as the build makes it, and its text."""
    md = Markdown(extensions=["toc", "attr_list"])
    md.convert("\n\n".join(line for line in prose_lines(text) if line.startswith("#")))

    def walk(tokens: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        for token in tokens:
            yield token["id"], token["name"]
            yield from walk(token["children"])

    return dict(walk(md.toc_tokens))


@cache
def ids(text: str) -> set[str]:
    """Every id of a page: of its headings, of what names one in its markup, and of its exercises."""
    named = re.findall(r"(?:\{[^}\n]*#|\bid=\")([\w-]+)", text)
    return {*headings(text), *named, *(f"exercise-{match['name']}" for match in EXERCISE.finditer(text))}


def heading_at(address: str) -> str:
    """The heading that an address below docs/ leads to; without an anchor, the title of the page.

    >>> heading_at("learn/attention.md")
    'The attention mechanism'

    Raises:
        ValueError: There is no such page, or it has no such heading.
    """
    name, _, anchor = address.partition("#")
    if not (DOCS / name).is_file():
        pages = [path.relative_to(DOCS).as_posix() for path in page_paths()]
        raise ValueError(f"no page docs/{name}{near(name, pages)}")
    text = (DOCS / name).read_text(encoding="utf-8")
    if not anchor:
        return title(text)
    found = headings(text)
    if anchor not in found:
        raise ValueError(f"docs/{name} has no heading #{anchor}{near(anchor, found)}")
    return unescape(found[anchor])


def relative(target: str | Path, page: str | Path) -> str:
    """How a page names another in a link.

    >>> relative("learn/a.md", "code/b.md")
    '../learn/a.md'
    """
    return Path(os.path.relpath(target, Path(page).parent)).as_posix()
