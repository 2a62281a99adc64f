"""A paragraph that starts with ``>>>`` is a doctest and becomes a code block, not three nested quotations."""

import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from tools.fences import map_prose

_DOCTEST = re.compile(r"^(?P<indent>[ ]*)>>> (?:[^\n]*\S[^\n]*\n?)+", re.MULTILINE)


class DoctestsExtension(Extension):
    """Registers the preprocessor."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the preprocessor before formulas and facts are read: brackets in a doctest are Python's."""
        md.preprocessors.register(_Doctests(md), "doctests", 30)


class _Doctests(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return map_prose("\n".join(lines), lambda prose: _DOCTEST.sub(_fenced, prose)).split("\n")


def _fenced(match: re.Match[str]) -> str:
    indent = match["indent"]
    return f"{indent}```pycon\n{match[0].rstrip()}\n{indent}```\n"


def makeExtension(**options: Any) -> DoctestsExtension:
    """Entry point that Python-Markdown looks for."""
    return DoctestsExtension(**options)
