"""Links the first mention of each glossary term on a page to its definition.

Only running prose is touched: no headings, links, code, tables, captions, quiz items or admonition titles. A
page that contains ``<!-- no-terms -->`` is left alone, and so is API documentation.
"""

import re
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString

from site_tools.content.glossary import Term, all_terms

_SKIPPED = {
    "a",
    "autoref",
    "abbr",
    "button",
    "code",
    "data",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "pre",
}
_SKIPPED |= {"script", "style", "summary", "svg", "table"}
_SKIPPED_CLASSES = {"admonition-title", "quiz"}
_MARKER = re.compile(r"<!--[^>]*\bno-terms\b[^>]*-->")


class TermsExtension(Extension):
    """Registers both processors."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the treeprocessor after inline patterns (20), tables (17) and figures (16)."""
        links = _Links(all_terms(), md)
        md.preprocessors.register(_Marker(links, md), "no-terms", 31)
        md.treeprocessors.register(links, "terms", 15)


class _Links(Treeprocessor):
    def __init__(self, terms: dict[str, Term], md: Markdown) -> None:
        super().__init__(md)
        self.enabled = True
        self.names = {name: term for term in terms.values() for name in term.names}
        longest_first = sorted(self.names, key=len, reverse=True)
        self.pattern = re.compile(
            rf"(?<![\w-])({'|'.join(map(re.escape, longest_first))})(?![\w-])", re.IGNORECASE
        )
        self.lowered = {name.lower(): term for name, term in self.names.items()}

    def run(self, root: Element) -> None:
        if self.enabled and self.names and "mkdocstrings_headings" not in self.md.treeprocessors:
            self.walk(root, set())

    def walk(self, element: Element, linked: set[str]) -> None:
        """Link terms in an element's text, its children, and the text after each child, in reading order."""
        if element.tag in _SKIPPED or _SKIPPED_CLASSES & set(element.get("class", "").split()):
            return
        element.text, found = self.split(element.text, linked)
        children = list(element)
        for index, link in enumerate(found):
            element.insert(index, link)
        for child in children:
            self.walk(child, linked)
            child.tail, found = self.split(child.tail, linked)
            position = list(element).index(child) + 1
            for index, link in enumerate(found):
                element.insert(position + index, link)

    def split(self, text: str | None, linked: set[str]) -> tuple[str | None, list[Element]]:
        """Cut a text at its first mentions, into what precedes them and links with the rest as tails."""
        if not text or isinstance(text, AtomicString):
            return text, []
        links: list[Element] = []
        before, position = text, 0
        for match in self.pattern.finditer(text):
            term = self.lowered[match[0].lower()]
            if term.slug in linked:
                continue
            linked.add(term.slug)
            gap = text[position : match.start()]
            if links:
                links[-1].tail = gap
            else:
                before = gap
            link = Element("autoref", {"identifier": term.anchor, "class": "term", "title": term.definition})
            link.text = AtomicString(match[0])
            links.append(link)
            position = match.end()
        if links:
            links[-1].tail = text[position:]
        return before, links


class _Marker(Preprocessor):
    def __init__(self, links: _Links, md: Markdown) -> None:
        super().__init__(md)
        self.links = links

    def run(self, lines: list[str]) -> list[str]:
        self.links.enabled = not any(_MARKER.search(line) for line in lines)
        return lines


makeExtension = TermsExtension
