"""Lets a module's name in a heading break after dots and underscores, where a phone has no room for it."""

import re
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor


class NamesExtension(Extension):
    """Registers the treeprocessor."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the treeprocessor after the table of contents (5), which shows the text of headings."""
        md.treeprocessors.register(_Breaks(md), "names", 4)


class _Breaks(Treeprocessor):
    def run(self, root: Element) -> None:
        for heading in root.iter():
            if heading.tag in {"h1", "h2"} and heading.get("id", "").startswith("llmguide."):
                first, *others = re.split(r"(?<=[._])", heading.text or "")
                heading.text = first
                for position, part in enumerate(others):
                    place = Element("wbr")
                    place.tail = part
                    heading.insert(position, place)


makeExtension = NamesExtension
