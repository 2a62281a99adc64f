"""Accessible tables: a caption, scoped headings, and a frame that scrolls on a phone.

A paragraph ``Table: text`` right after a table becomes its caption; a first cell in bold heads its row.
Columns of prose are marked, so that a phone does not squeeze them to one word per line.
"""

from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

_CAPTION = "Table: "
_PROSE = 24  # characters of the longest cell of a column


class TablesExtension(Extension):
    """Registers the treeprocessor."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the treeprocessor after inline patterns (20)."""
        md.treeprocessors.register(_Tables(md), "accessible-tables", 17)


class _Tables(Treeprocessor):
    def run(self, root: Element) -> None:
        number = 0
        for parent in list(root.iter()):
            for table in [child for child in parent if child.tag == "table"]:
                number += 1
                _scope(table)
                _mark_prose(table)
                position = list(parent).index(table)
                frame = Element("div", {"class": "table-scroll", "role": "group", "tabindex": "0"})
                caption = _take_caption(parent, position + 1)
                if caption is None:
                    frame.set("aria-label", "Table")
                else:
                    identifier = f"table-caption-{number}"
                    caption.set("id", identifier)
                    table.insert(0, caption)
                    frame.set("aria-labelledby", identifier)
                frame.tail, table.tail = table.tail, None
                parent.remove(table)
                frame.append(table)
                parent.insert(position, frame)


def _take_caption(parent: Element, position: int) -> Element | None:
    """Remove the caption paragraph at ``position`` and return it as a caption element."""
    if position >= len(parent):
        return None
    paragraph = parent[position]
    if paragraph.tag != "p" or not (paragraph.text or "").startswith(_CAPTION):
        return None
    parent.remove(paragraph)
    caption = Element("caption")
    caption.text = (paragraph.text or "").removeprefix(_CAPTION)
    caption.extend(paragraph)
    return caption


def _scope(table: Element) -> None:
    for heading in table.iterfind("thead/tr/th"):
        if len(heading) or (heading.text or "").strip():
            heading.set("scope", "col")
        else:
            heading.tag = "td"  # an empty heading heads nothing
    for first in table.iterfind("tbody/tr/td[1]"):
        bold = first[0] if len(first) == 1 and first[0].tag == "strong" else None
        if bold is not None and not (first.text or "").strip() and not (bold.tail or "").strip():
            first.tag = "th"
            first.set("scope", "row")
            first.text = bold.text
            first.remove(bold)
            first.extend(bold)


def _mark_prose(table: Element) -> None:
    rows = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    columns = [any(len(text) > _PROSE for text in column) for column in zip(*rows, strict=False)]
    if any(columns):
        group = Element("colgroup")
        group.extend(Element("col", {"class": "prose"} if prose else {}) for prose in columns)
        table.insert(0, group)


makeExtension = TablesExtension
