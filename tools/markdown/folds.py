"""Marks code of more than 25 lines, so that a page shows its first lines and a button for the rest.

The mark is a class; docs/css/guide.css folds the code and docs/js/guide.js adds the button. Without scripts
and on paper all of the code is shown, and code inside a folded block stays whole.
"""

from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from tools.fences import Fence, fences

MOST_LINES = 25


class FoldsExtension(Extension):
    """Registers the preprocessor."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the preprocessor after sources are included (29), before fences are read (25)."""
        md.preprocessors.register(_Folds(md), "folds", 26)


class _Folds(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        marked = list(lines)
        for fence in fences("\n".join(lines)):
            if fence.code.count("\n") >= MOST_LINES and "output" not in fence.classes:
                marked[fence.start] = f"{fence.indent}{fence.marker}{_header(lines[fence.start], fence)}"
        return marked


def _header(opening: str, fence: Fence) -> str:
    info = opening.strip().lstrip("`~").strip()
    if info.startswith("{"):
        return f"{info[:-1]} .long}}"
    attributes = "".join(f' {name}="{value}"' for name, value in fence.attributes.items())
    return f"{{.{fence.language or 'text'} .long{attributes}}}"


def makeExtension(**options: Any) -> FoldsExtension:
    """Entry point that Python-Markdown looks for."""
    return FoldsExtension(**options)
