r"""Every question and exercise as a card for Anki: docs/assets/vendor/llmguide-anki.txt.

The file is tab-separated, with a line for each card. Its first column is the card's id, so that Anki updates
the cards that it has already. Formulas are between ``\(`` and ``\)``, which Anki gives to MathJax.
"""

import csv
import io
import re
from collections.abc import Iterator
from html import escape

from markdown import markdown

from llmguide.exercises import exercise
from site_tools import write
from site_tools.built.plain_markdown import config
from site_tools.content.course import address, graded
from site_tools.content.quiz import KINDS, Question, chapters
from site_tools.fences import outside_code
from site_tools.links import heading_at
from site_tools.markdown.exercises import solution, task
from site_tools.markdown.math import FORMULA, tex_of
from site_tools.markdown.quiz import explanations
from site_tools.tab.vendor import VENDOR

FILE = VENDOR / "llmguide-anki.txt"
HEAD = (
    "#separator:tab\n#html:true\n#deck:llmguide\n"
    "#columns:id\tquestion\tanswer\ttags\n#guid column:1\n#tags column:4\n"
)


def html(text: str) -> str:
    r"""Markdown as HTML on one line.

    >>> print(html("Is $a_1 < b_1$ with `n_1`?"))
    <p>Is \(a_1 &lt; b_1\) with <code>n_1</code>?</p>
    """
    formulas: list[str] = []

    def stash(match: re.Match[str]) -> str:
        if match["skip"]:
            return match[0].removeprefix("\\")
        formulas.append(rf"\({escape(tex_of(match), quote=False)}\)")
        return f"formula{len(formulas) - 1}end"

    shown = markdown(outside_code(FORMULA, stash)(text), extensions=["fenced_code"])
    shown = re.sub(r"formula(\d+)end", lambda match: formulas[int(match[1])], shown)
    parts = re.split(r"(<pre>.*?</pre>)", shown.replace("\t", "    "), flags=re.DOTALL)
    return "".join(part.replace("\n", "<br>" if part.startswith("<pre>") else " ") for part in parts)


def cards() -> Iterator[tuple[str, str, str, str]]:
    """The columns of each card, its texts as Markdown."""
    for chapter in chapters():
        for question in chapter.questions:
            front, back = _question(question)
            yield question.id, front, f"{back}\n\nSee {_link(question.see)}.", f"llmguide::{chapter.name}"
    for page, names in graded().items():
        for name in names:
            found = exercise(name)
            hints = "\n".join(f"- {hint}" for hint in found.hints)
            back = f"{_code(solution(found)[1])}\n\n{hints}\n\nSee {_link(page, f'exercise-{name}')}."
            yield f"exercise-{name}", f"**Exercise.** {task(found)}", back, "llmguide::exercises"


def _question(question: Question) -> tuple[str, str]:
    """Front and back, in the first variant."""
    variant = question.variants[0]
    front = [f"{variant.text} {KINDS[question.kind]}"]
    if variant.code:
        front.append(_code(variant.code))
    if question.kind != "numeric":
        front.append("\n".join(f"- {choice.text}" for choice in variant.choices))
    why = explanations(question.kind, variant)
    if question.kind in {"single", "multiple", "output"}:
        pairs = sorted(zip(variant.choices, why, strict=True), key=lambda pair: not pair[0].right)
        why = [f"- {choice.text} {line.removeprefix('1. ')}" for choice, line in pairs]
    return "\n\n".join(front), "\n".join(why)


def _code(text: str) -> str:
    return f"```\n{text}\n```"


def _link(see: str, anchor: str = "") -> str:
    page, _, heading = see.partition("#")
    return f"[{heading_at(see)}]({config()['site_url']}{address(page)}/#{anchor or heading})"


def text() -> str:
    """The file."""
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
    writer.writerows((name, html(front), html(back), tag) for name, front, back, tag in cards())
    return HEAD + lines.getvalue()


def main() -> None:
    """Write the file."""
    write(FILE, text())
