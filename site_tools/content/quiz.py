"""The items of the quiz: reads docs/_data/quiz/*.toml and computes the answers.

Pages show items in place (site_tools/markdown/quiz.py); the pages of the quiz have all of them
(site_tools/content/quiz_pages.py). Each file is a chapter with ``title``, ``page`` and ``[[question]]``
tables:

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
import math
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from llmguide.pages.entries import check_fields, load_toml, near
from llmguide.pages.facts import fact
from site_tools import DATA
from site_tools.content.values import fill
from site_tools.links import heading_at

FOLDER = DATA / "quiz"
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
    """Every chapter of the quiz, its answers computed.

    Reads none of the pages: what is tested with a chapter does not depend on their text.
    """
    names = (name for part in PARTS.values() for name in part)
    found = tuple(read(name, (FOLDER / f"{name}.toml").read_text(encoding="utf-8")) for name in names)
    ids = [question.id for chapter in found for question in chapter.questions]
    if twice := {name for name in ids if ids.count(name) > 1}:
        raise ValueError(f"questions with the same id: {', '.join(sorted(twice))}")
    return found


def item(name: str) -> Question:
    """The item with an id.

    Raises:
        ValueError: There is none.
    """
    found = {question.id: question for chapter in chapters() for question in chapter.questions}
    if name not in found:
        raise ValueError(f"no quiz item {name}{near(name, found)}")
    return found[name]


def read(name: str, toml: str) -> Chapter:
    """Read a chapter.

    Raises:
        ValueError: A question is incomplete, or its computed answers contradict its kind.
    """
    place = f"docs/_data/quiz/{name}.toml"
    data = load_toml(toml, place)
    check_fields(place, data, {"title", "page", "question"}, set())
    questions = []
    for table in data["question"]:
        try:
            questions.append(_question(table))
        except Exception as error:
            key = table.get("id", "?")
            what = "" if isinstance(error, ValueError) else f"question {key}: {type(error).__name__}: "
            raise ValueError(f"{place}:{_line(toml, key)}: {what}{error}") from error
    return Chapter(name, data["title"], data["page"], tuple(questions))


def _line(toml: str, key: str) -> int:
    """The line of a question."""
    return toml.count("\n", 0, max(toml.find(f'id = "{key}"'), 0)) + 1


def check_addresses(chapter: Chapter, toml: str) -> None:
    """Check that there are the pages and headings that a chapter names.

    Raises:
        ValueError: The page of the chapter, or the heading of a question, is missing.
    """
    place = f"docs/_data/quiz/{chapter.name}.toml"
    named = {place: chapter.page}
    named |= {f"{place}:{_line(toml, question.id)}": question.see for question in chapter.questions}
    for where, address in named.items():
        try:
            heading_at(address)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def all_addresses() -> None:
    """Check those of every chapter."""
    for chapter in chapters():
        check_addresses(chapter, (FOLDER / f"{chapter.name}.toml").read_text(encoding="utf-8"))


def _question(table: Table) -> Question:
    where = f"question {table.get('id', '?')}"
    numeric = {"answer", "why"} if table.get("kind") == "numeric" else set()
    check_fields(where, table, {"id", "kind", "text", "see"} | numeric, _OPTIONAL)
    if table["kind"] not in KINDS:
        kind = table["kind"]
        raise ValueError(f"{where}: kind {kind!r} is not among {', '.join(KINDS)}{near(kind, KINDS)}")
    for choice in table.get("choices", []):
        check_fields(f"{where}: a choice", choice, {"text"}, {"why", "right", "key"})
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
    code = fill(table.get("code", ""), names).strip()
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
    text = fill(table["text"], names)
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
    why = fill(table["why"], names)
    return Variant(text, "", choices, repr(float(answer)), why, tolerance, table.get("unit", ""))


def _choice(table: Table, kind: str, names: dict[str, Any]) -> Choice:
    why = fill(table.get("why", ""), names)
    if kind == "numeric":
        return Choice(repr(float(eval(table["text"], names))), why)
    text = fill(table["text"], names)
    if kind == "output":
        return Choice(f"`{text}`", why, text == names["output"])
    if kind == "order":
        names.setdefault("_items", []).append(text)
        return Choice(text, why, key=eval(table["key"], names) if "key" in table else len(names["_items"]))
    right = table.get("right", False)
    return Choice(text, why, bool(eval(right, names) if isinstance(right, str) else right))


def _printed(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    return printed.getvalue().strip()
