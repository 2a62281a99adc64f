"""``<div class="widget" data-widget="NAME" ...>`` gets the bytes that starting the widget downloads.

The button that starts it names them. What stands inside the box is what readers see until then, and without
scripts. An unknown name fails the build.
"""

import json
import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from tools.fences import map_prose
from tools.widgets import download, sizes

BOX = re.compile(r'<div class="widget" data-widget="(?P<name>\w+)"')


class WidgetsExtension(Extension):
    """Registers the preprocessor."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the preprocessor, before HTML is read."""
        md.preprocessors.register(_Sizes(md), "widgets", 28)


class _Sizes(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return map_prose("\n".join(lines), lambda prose: BOX.sub(_with_bytes, prose)).split("\n")


def _with_bytes(match: re.Match[str]) -> str:
    of_parts = json.dumps(sizes(match["name"]), separators=(",", ":"))
    return f"{match.group()} data-bytes=\"{download(match['name'])}\" data-sizes='{of_parts}'"


def makeExtension(**options: Any) -> WidgetsExtension:
    """Entry point that Python-Markdown looks for."""
    return WidgetsExtension(**options)
