"""``[@vaswani2017, section 3.2]`` cites a work.

``@sources vaswani2017 brown2020`` lists these works with a line on each; ``@sources`` alone lists all others
that the page cites.
"""

import re
from xml.etree.ElementTree import Element, SubElement

from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.util import AtomicString

from site_tools.content.bibliography import CITATION, SOURCES, source_list, split_citation, work
from site_tools.fences import map_prose, outside_code
from site_tools.markdown import Rewriter


class CitationsExtension(Extension):
    """Registers the preprocessor and the inline pattern."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the pattern before links (170) could see its brackets."""
        md.preprocessors.register(Rewriter(_with_lists, md), "sources", 29.5)
        md.inlinePatterns.register(_Citation(CITATION.pattern, md), "citation", 183)


class _Citation(InlineProcessor):
    def handleMatch(self, match: re.Match[str], data: str) -> tuple[Element, int, int]:
        cite = Element("span", {"class": "citation"})
        cite.text = "("
        pairs = split_citation(match["works"])
        for key, where in pairs:
            link = SubElement(cite, "autoref", {"identifier": key})
            link.text = AtomicString(work(key).label)
            link.tail = f", {where}; " if where else "; "
        link.tail = (link.tail or "").removesuffix("; ") + ")"
        return cite, match.start(), match.end()


def _with_lists(text: str) -> str:
    return map_prose(text, lambda prose: SOURCES.sub(lambda match: source_list(text, match["keys"]), prose))


def written_out(prose: str, page: str, source: str) -> str:
    """Prose with lists of sources, and with links from citations to the works."""
    prose = map_prose(prose, lambda text: SOURCES.sub(lambda match: source_list(source, match["keys"]), text))
    return map_prose(prose, outside_code(CITATION, _linked))


def _linked(match: re.Match[str]) -> str:
    links = [
        f"[{work(key).label}]({work(key).address})" + (f", {where}" if where else "")
        for key, where in split_citation(match["works"])
    ]
    return f"({'; '.join(links)})"


makeExtension = CitationsExtension
