"""Python-Markdown extensions: each module has ``makeExtension`` and no knowledge of the site generator.

A module whose syntax only the build understands also has ``written_out``, which gives prose in Markdown that
anyone understands, for site_tools/built/plain_markdown.py.
"""

import re
from collections.abc import Callable

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from site_tools.fences import map_prose


class Rewriter(Preprocessor):
    """Rewrites a page before Markdown reads it."""

    def __init__(self, rewrite: Callable[[str], str], md: Markdown) -> None:
        super().__init__(md)
        self.rewrite = rewrite

    def run(self, lines: list[str]) -> list[str]:
        """Rewrite the page, given its lines."""
        return self.rewrite("\n".join(lines)).split("\n")


def rewriting(name: str, rewrite: Callable[[str], str], priority: float) -> type[Extension]:
    """The extension that rewrites a page with a function.

    Args:
        name: Name of the preprocessor.
        rewrite: Function from the Markdown of a page to other Markdown.
        priority: Preprocessors run in descending order. White space is normal after 30, and fences are read
            at 25.
    """

    class Rewriting(Extension):
        def extendMarkdown(self, md: Markdown) -> None:
            md.preprocessors.register(Rewriter(rewrite, md), name, priority)

    return Rewriting


def replacing(
    name: str, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str], priority: float
) -> type[Extension]:
    """The extension that replaces a pattern outside fences; otherwise as `rewriting`."""
    return rewriting(name, lambda text: map_prose(text, lambda prose: pattern.sub(replace, prose)), priority)
