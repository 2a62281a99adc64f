"""Puts computed figures into the page itself, so that they follow the reader's palette.

An image from ``assets/figures/`` is replaced by its SVG; a paragraph ``Figure: text`` after it becomes the
caption.
"""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

from site_tools import DOCS

_CAPTION = "Figure: "
_FOLDER = "assets/figures/"


class FiguresExtension(Extension):
    """Registers the treeprocessor; option ``docs`` is the directory of the pages."""

    def __init__(self, **options: Any) -> None:
        self.config = {"docs": [str(DOCS), "directory of the pages"]}
        super().__init__(**options)

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the treeprocessor after inline patterns (20)."""
        md.treeprocessors.register(_Figures(Path(self.getConfig("docs")), md), "figures", 16)


class _Figures(Treeprocessor):
    def __init__(self, docs: Path, md: Markdown) -> None:
        super().__init__(md)
        self.docs = docs

    def run(self, root: Element) -> None:
        for parent in list(root.iter()):
            for paragraph in [child for child in parent if child.tag == "p" and len(child) == 1]:
                image = paragraph[0]
                if image.tag == "img" and _FOLDER in image.get("src", ""):
                    self.replace(parent, paragraph, image)

    def replace(self, parent: Element, paragraph: Element, image: Element) -> None:
        source = image.get("src", "")
        if not image.get("alt", "").strip():
            raise ValueError(f"the figure {source} has no alt text")
        path = self.docs / _FOLDER / source.partition(_FOLDER)[2]
        if not path.is_file():
            raise ValueError(
                f"the figure {path} does not exist; python -m site_tools.cells.run_pages draws it"
            )
        position = list(parent).index(paragraph)
        figure = Element("figure", {"class": "computed-figure"})
        figure.text = self.md.htmlStash.store(path.read_text(encoding="utf-8").strip())
        figure.tail = paragraph.tail
        parent[position] = figure
        following = parent[position + 1] if position + 1 < len(parent) else None
        if following is not None and following.tag == "p" and (following.text or "").startswith(_CAPTION):
            caption = SubElement(figure, "figcaption")
            caption.text = (following.text or "").removeprefix(_CAPTION)
            caption.extend(following)
            parent.remove(following)


makeExtension = FiguresExtension
