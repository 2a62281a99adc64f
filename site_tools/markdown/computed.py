"""Shows what the page runner stored: inline values, cited facts, tables and figures.

``{{ 124 = expression }}`` becomes the stored text with the expression as its title; ``[[context-gpt3]]`` the
fact with a link to its source; ``[[runs-on: learn/attention]]`` what a page took to run. The code of
``.table`` and ``.figure`` fences moves under its output, folded.
"""

import json
import re
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor
from markdown.util import AtomicString

from llmguide.pages.facts import REFERENCE, fact
from site_tools import CACHE, DOCS
from site_tools.content.bibliography import work
from site_tools.fences import COMPUTED, fences, map_prose, outside_code, split_computed

RUNS_ON = r"\[\[runs-on: (?P<page>[\w/-]+)\]\]"
_SUMMARY = "How this is computed"


class ComputedExtension(Extension):
    """Registers the preprocessor and the inline patterns."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the patterns after code spans (190) and before escapes (180)."""
        md.preprocessors.register(_FoldCode(md), "computed", 27)
        md.inlinePatterns.register(_Value(COMPUTED.pattern, md), "computed", 186)
        md.inlinePatterns.register(_RunsOn(RUNS_ON, md), "runs-on", 185)
        md.inlinePatterns.register(_Fact(REFERENCE.pattern, md), "fact", 184)


class _FoldCode(Preprocessor):
    """Moves the code of ``.table`` and ``.figure`` fences into a folded block after their output."""

    def run(self, lines: list[str]) -> list[str]:
        result: list[str] = []
        position = 0
        for fence in fences("\n".join(lines)):
            if fence.start < position or not {"table", "figure"} & set(fence.classes):
                continue
            result += lines[position : fence.start]
            first = next((i for i in range(fence.end, len(lines)) if lines[i].strip()), -1)
            if first < 0 or lines[first].strip() != "<!-- output -->":
                raise ValueError(
                    f"no output; run python -m site_tools.cells.run_pages --write on it:\n{fence.code}"
                )
            last = next(i for i in range(first, len(lines)) if lines[i].strip() == "<!-- /output -->")
            code = [f"    {line}" if line else "" for line in lines[fence.start : fence.end]]
            result += [*lines[first + 1 : last], "", f'{fence.indent}??? how "{_SUMMARY}"', "", *code, ""]
            position = last + 1
        return result + lines[position:]


class _Value(InlineProcessor):
    def handleMatch(self, match: re.Match[str], data: str) -> tuple[Element, int, int]:
        stored, expression = split_computed(match["value"])
        element = Element("data", {"class": "computed", "title": expression, "value": stored})
        element.text = AtomicString(stored)
        return element, match.start(), match.end()


class _RunsOn(InlineProcessor):
    def handleMatch(self, match: re.Match[str], data: str) -> tuple[Element, int, int]:
        element = Element("span", {"class": "runs-on"})
        element.text = AtomicString(measured(match["page"]))
        return element, match.start(), match.end()


class _Fact(InlineProcessor):
    def handleMatch(self, match: re.Match[str], data: str) -> tuple[Element, int, int]:
        found = fact(match["fact"])
        title = f"{work(found.source).label}, {found.where}"
        element = Element("autoref", {"identifier": found.source, "class": "fact", "title": title})
        element.text = AtomicString(found.text)
        return element, match.start(), match.end()


def measured(page: str) -> str:
    """What the last good run of a page took.

    Raises:
        ValueError: There is no such page.
    """
    path = CACHE / "pages" / f"{page}.json"
    if not path.is_file():
        if not (DOCS / f"{page}.md").is_file():
            raise ValueError(f"[[runs-on: {page}]]: there is no docs/{page}.md")
        return "Not measured in this build."
    run = json.loads(path.read_text())
    seconds = f"{run['seconds']:.1f} s" if run["seconds"] >= 0.1 else "under 0.1 s"
    memory = f", {run['peak_mb']} MB" if run["peak_mb"] else ""
    return f"{run['cells']} cells, {seconds}{memory} on one CPU core, no GPU; torch {run['torch']}"


def written_out(prose: str, page: str, source: str) -> str:
    """Prose with its values, and with links from facts to their sources."""
    for pattern, replace in (
        (COMPUTED, lambda match: split_computed(match["value"])[0]),
        (re.compile(RUNS_ON), lambda match: measured(match["page"])),
        (REFERENCE, lambda match: _linked(match["fact"])),
    ):
        prose = map_prose(prose, outside_code(pattern, replace))
    return prose


def _linked(key: str) -> str:
    return f"[{fact(key).text}]({work(fact(key).source).address})"


makeExtension = ComputedExtension
