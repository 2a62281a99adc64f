"""The quiz: reads docs/_data/quiz/*.toml, computes the answers, writes docs/quiz.md and docs/quiz/*.md.

Each file is a chapter with ``title``, ``page`` and ``[[question]]`` tables:

``id``         unique; names the question's score
``kind``       ``single``, ``multiple``, ``numeric``, ``order``, or ``output``: what does ``code`` print?
``text``       the question
``see``        where the answer is explained: a page under docs/ and an anchor on it
``setup``      Python that runs first. If it calls ``draw``, a random generator, there are several variants
``choices``    tables with ``text``, ``why`` (an explanation, for each choice), and for single and multiple
               ``right``: a Python expression or true. For numeric they are wrong answers, as expressions; for
               order the items, in the right order or with a ``key`` to sort by; for output the right one is
               found by running the code
``answer``     numeric: an expression; with ``tolerance`` (relative, 0.01), ``unit`` and ``why``
"""

import contextlib
import io
import json
import math
import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from site_tools import DATA, DOCS, check_fields, generated_head, load_toml
from site_tools.facts import fact
from site_tools.links import heading_at

FOLDER = DATA / "quiz"
PAGE = DOCS / "quiz.md"
# A page for each part: all questions on one page would be heavier than an article may be.
PARTS = {
    "Foundations": ("introduction", "concepts", "sampling", "positions", "families"),
    "Architecture": ("transformer", "experts", "attention", "attention-at-scale", "interpretability"),
    "Pre-training": ("pretraining", "data", "scale"),
    "Post-training": ("post-training", "rewards-and-rl", "preferences", "adapters"),
    "Code": ("how-llms-write-code", "algorithms", "prompting"),
    "Projects": ("evaluation", "retrieval", "projects"),
}
KINDS = {
    "single": "One choice is right.",
    "multiple": "Any number of choices may be right.",
    "numeric": "",
    "order": "Put into the right order.",
    "output": "What does this print?",
}
MIN_VARIANTS, MAX_VARIANTS = 3, 6
_OPTIONAL = {"setup", "code", "choices", "answer", "tolerance", "unit", "why"}
_EXPRESSION = re.compile(r"\{\{ (?P<value>.+?) ?\}\}")
Table = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """A choice of a question, an item to put in order, or a wrong number."""

    text: str
    why: str
    right: bool = False
    key: Any = 0


@dataclass(frozen=True)
class Variant:
    """A question with its numbers filled in; ``choices`` in the order in which they are shown."""

    text: str
    code: str
    choices: tuple[Choice, ...]
    answer: str = ""
    why: str = ""
    tolerance: float = 0.0
    unit: str = ""


@dataclass(frozen=True)
class Question:
    """A question in one variant, or several."""

    id: str
    kind: str
    see: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Chapter:
    """The questions about one page."""

    name: str
    title: str
    page: str
    questions: tuple[Question, ...]


# ---- reading and computing -------------------------------------------------------------------------


@cache
def chapters() -> tuple[Chapter, ...]:
    """Every chapter of the quiz, its answers computed."""
    names = (name for part in PARTS.values() for name in part)
    found = tuple(read(name, (FOLDER / f"{name}.toml").read_text(encoding="utf-8")) for name in names)
    ids = [question.id for chapter in found for question in chapter.questions]
    if twice := {name for name in ids if ids.count(name) > 1}:
        raise ValueError(f"questions with the same id: {', '.join(sorted(twice))}")
    return found


def read(name: str, toml: str) -> Chapter:
    """Read a chapter.

    Raises:
        ValueError: A question is incomplete, names no heading, or its computed answers contradict its kind.
    """
    place = f"docs/_data/quiz/{name}.toml"
    data = load_toml(toml, place)
    check_fields(place, data, {"title", "page", "question"}, set())
    try:
        _link(data["page"])
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    questions = []
    for table in data["question"]:
        try:
            questions.append(_question(table))
        except Exception as error:
            key = table.get("id", "?")
            line = toml.count("\n", 0, max(toml.find(f'id = "{key}"'), 0)) + 1
            what = "" if isinstance(error, ValueError) else f"question {key}: {type(error).__name__}: "
            raise ValueError(f"{place}:{line}: {what}{error}") from error
    return Chapter(name, data["title"], data["page"], tuple(questions))


def _question(table: Table) -> Question:
    where = f"question {table.get('id', '?')}"
    check_fields(where, table, {"id", "kind", "text", "see"}, _OPTIONAL)
    if table["kind"] not in KINDS:
        raise ValueError(f"{where}: kind {table['kind']!r} is not among {', '.join(KINDS)}")
    _link(table["see"])
    is_drawn = "draw." in table.get("setup", "")
    variants: dict[str, Variant] = {}
    for seed in range(10 * MAX_VARIANTS if is_drawn else 1):
        variant = instantiate(table, seed)
        variants.setdefault(variant.text + variant.code, variant)
        if len(variants) == MAX_VARIANTS:
            break
    if is_drawn and len(variants) < MIN_VARIANTS:
        raise ValueError(f"{where} has fewer than {MIN_VARIANTS} distinct variants; draw from more values")
    return Question(table["id"], table["kind"], table["see"], tuple(variants.values()))


def instantiate(table: Table, seed: int) -> Variant:
    """One variant of a question: run its setup, fill in its texts, compute what is right.

    Raises:
        ValueError: The answers contradict the kind of the question.
    """
    kind, where = table["kind"], f"question {table['id']}, seed {seed}"
    generator = random.Random(f"{table['id']} {seed}")
    names: dict[str, Any] = {"draw": generator, "fact": fact, "math": math}
    exec(table.get("setup", ""), names)
    code = _fill(table.get("code", ""), names).strip()
    if kind == "output":
        names["output"] = _printed(code)
    choices = [_choice(choice, kind, names) for choice in table.get("choices", [])]
    if unexplained := [choice.text for choice in choices if not choice.why]:
        raise ValueError(f"{where}: no explanation of {', '.join(unexplained)}")
    if len({choice.text for choice in choices}) < len(choices):
        raise ValueError(f"{where}: two choices are the same: {[choice.text for choice in choices]}")
    n_right = sum(choice.right for choice in choices)
    if kind in {"single", "output"} and (n_right != 1 or len(choices) < 3):
        raise ValueError(f"{where}: {n_right} of {len(choices)} choices are right; it takes 1 of at least 3")
    if kind == "multiple" and not 1 <= n_right < len(choices):
        raise ValueError(f"{where}: {n_right} of {len(choices)} choices are right; at least one, and not all")
    text = _fill(table["text"], names)
    if kind == "numeric":
        return _numeric(table, names, text, tuple(choices), where)
    if kind == "order":
        if len({choice.key for choice in choices}) < max(3, len(choices)):
            raise ValueError(f"{where}: an order needs at least 3 items, all with different keys")
        choices.sort(key=lambda choice: choice.key)
    ordered = choices.copy()
    generator.shuffle(choices)
    while kind == "order" and choices == ordered:
        generator.shuffle(choices)
    if kind == "order":
        choices = [Choice(c.text, c.why, key=ordered.index(c) + 1) for c in choices]
    return Variant(text, code, tuple(choices))


def _numeric(
    table: Table, names: dict[str, Any], text: str, choices: tuple[Choice, ...], where: str
) -> Variant:
    answer, tolerance = eval(table["answer"], names), table.get("tolerance", 0.01)
    wrong = [float(choice.text) for choice in choices]
    if close := [value for value in wrong if math.isclose(value, answer, rel_tol=tolerance)]:
        raise ValueError(f"{where}: {close} are as good as the answer {answer}")
    why = _fill(table["why"], names)
    return Variant(text, "", choices, repr(float(answer)), why, tolerance, table.get("unit", ""))


def _choice(table: Table, kind: str, names: dict[str, Any]) -> Choice:
    why = _fill(table.get("why", ""), names)
    if kind == "numeric":
        return Choice(repr(float(eval(table["text"], names))), why)
    text = _fill(table["text"], names)
    if kind == "output":
        return Choice(f"`{text}`", why, text == names["output"])
    if kind == "order":
        names.setdefault("_items", []).append(text)
        return Choice(text, why, key=eval(table["key"], names) if "key" in table else len(names["_items"]))
    right = table.get("right", False)
    return Choice(text, why, bool(eval(right, names) if isinstance(right, str) else right))


def _fill(text: str, names: dict[str, Any]) -> str:
    """Put the values of its expressions into a text.

    >>> _fill("{{ n }} heads, {{ n / 3:.2f }} each", {"n": 2})
    '2 heads, 0.67 each'
    """
    return _EXPRESSION.sub(lambda match: str(eval(f'f"""{{{match["value"]}}}"""', names)), text)


def _printed(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    return printed.getvalue().strip()


# ---- writing ---------------------------------------------------------------------------------------

_INTRODUCTION = """
Questions on every chapter, each with an explanation of every choice. Numbers and outputs were computed by the
code of this guide when the page was built; many questions come in several variants with other numbers. Your
score stays in your browser. Each question that you answer becomes a card, which you [review](review.md)
when it is due.
"""


def pages() -> dict[Path, str]:
    """Every page of the quiz: one that lists the chapters, and one for each part."""
    by_name = {chapter.name: chapter for chapter in chapters()}
    origin = "site_tools/content/quiz.py from docs/_data/quiz"
    description = (
        "Questions on every chapter, with an explanation of every choice and answers computed by code."
    )
    parts, found = [], {}
    for title, names in PARTS.items():
        path = DOCS / part_of(names[0])
        about = f"Questions on {title.lower()}, with an explanation of every choice."
        head = generated_head(f"Quiz on {title.lower()}", about, origin)
        found[path] = "\n".join([head, *(_chapter(by_name[name]) for name in names)])
        parts += [f"## {title}\n", *(_entry(path, by_name[name]) for name in names), ""]
    found[PAGE] = "\n".join([generated_head("Quiz", description, origin), _INTRODUCTION.strip(), "", *parts])
    return found


def part_of(chapter: str) -> str:
    """The page below docs/ that has the questions of a chapter.

    >>> part_of("sampling")
    'quiz/foundations.md'
    """
    title = next(title for title, names in PARTS.items() if chapter in names)
    return f"quiz/{title.lower()}.md"


def _entry(path: Path, chapter: Chapter) -> str:
    address = f"{path.relative_to(DOCS).as_posix()}#{chapter.name}"
    return f"- [{chapter.title}]({address}): {len(chapter.questions)} questions"


def _chapter(chapter: Chapter) -> str:
    questions = [_rendered(number, question) for number, question in enumerate(chapter.questions, start=1)]
    about = f"About {_link(chapter.page)}. {len(questions)} questions."
    return "\n".join(
        [
            f"## {chapter.title} {{ #{chapter.name} }}\n",
            f'<div class="quiz" data-chapter="{chapter.name}" markdown>\n',
            f"{about}\n",
            *questions,
            "</div>\n",
        ]
    )


def _rendered(number: int, question: Question) -> str:
    first, *others = [_variant(number, question, variant) for variant in question.variants]
    parts = [f'<div class="question" id="{question.id}" markdown>\n', first]
    if others:
        summary = "<summary>The same question with other numbers</summary>"
        parts += ['<details class="more" markdown>', f"{summary}\n", *others, "</details>\n"]
    return "\n".join([*parts, "</div>\n"])


def _variant(number: int, question: Question, variant: Variant) -> str:
    data = {"kind": question.kind, "answer": json.dumps(_answers(question.kind, variant))}
    if question.kind == "numeric":
        data |= {"tolerance": str(variant.tolerance), "unit": variant.unit}
    attributes = " ".join(f"data-{name}='{value}'" for name, value in data.items())
    instruction = f" *{KINDS[question.kind]}*" if KINDS[question.kind] else ""
    code = ['```{.python .static reason="a question"}', variant.code, "```\n"] if variant.code else []
    marker = "-" if question.kind == "order" else "1."
    shown = [f"{marker} {choice.text}" for choice in variant.choices] if question.kind != "numeric" else []
    return "\n".join(
        [
            f'<div class="variant" {attributes} markdown>\n',
            f"**{number}.** {variant.text}{instruction}\n",
            *code,
            *([*shown, ""] if shown else []),
            '<details class="answer" markdown>',
            "<summary>Answer</summary>\n",
            *explanations(question.kind, variant),
            f"\nSee {_link(question.see)}.\n",
            "</details>\n",
            "</div>\n",
        ]
    )


def _answers(kind: str, variant: Variant) -> list[Any]:
    """What the script compares with: right choices, the right number and wrong ones, or places."""
    if kind == "numeric":
        return [float(variant.answer), *(float(choice.text) for choice in variant.choices)]
    if kind == "order":
        return [choice.key for choice in variant.choices]
    return [index for index, choice in enumerate(variant.choices) if choice.right]


def explanations(kind: str, variant: Variant) -> list[str]:
    """A list with an item for each choice in the order shown; for order, in the right order."""
    if kind == "numeric":
        unit = f" {variant.unit}" if variant.unit else ""
        wrong = [f"- **{_number(choice.text)}{unit}:** {choice.why}" for choice in variant.choices]
        return [f"- **Right: {_number(variant.answer)}{unit}.** {variant.why}", *wrong]
    if kind == "order":
        return [f"1. {c.text}: {c.why}" for c in sorted(variant.choices, key=lambda choice: choice.key)]
    return [f"1. **{'Right' if choice.right else 'Wrong'}.** {choice.why}" for choice in variant.choices]


def _number(text: str) -> str:
    """A number as one reads it.

    >>> _number("4608.0"), _number("0.18393972"), _number("3.14e+23")
    ('4,608', '0.1839', '3.14e+23')
    """
    value = float(text)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _link(address: str) -> str:
    """A link with the heading it leads to."""
    return f"[{heading_at(address)}](../{address})"  # from the page of a part
