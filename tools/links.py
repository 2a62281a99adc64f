"""The headings of a page, and the ids that links to them name."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from markdown import Markdown

from tools.fences import prose_lines


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
