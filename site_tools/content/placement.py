"""Where a reader stands, and the path from there: the data of docs/start.md, assets/vendor/placement.json."""

import json
from itertools import chain
from typing import Any

from llmguide.exercises import exercise
from site_tools import DOCS, write
from site_tools.built.plain_markdown import sections
from site_tools.content import quiz, quiz_pages
from site_tools.content.course import address, graded
from site_tools.fences import prose_lines
from site_tools.links import heading_at
from site_tools.tab.vendor import VENDOR

FILE = VENDOR / "placement.json"
# In the order of their prerequisites. A rung's first page is where a reader starts who knows all rungs below.
LADDER = (
    ("learn/introduction.md",),
    ("learn/concepts/tokens.md",),
    ("learn/transformer.md",),
    ("learn/attention.md",),
    ("learn/concepts/positions.md",),
    ("learn/concepts/sampling.md",),
    ("learn/pretraining.md",),
    ("learn/pretraining/scale.md",),
    ("learn/post-training.md", "learn/post-training/rewards-and-rl.md"),
    ("learn/post-training/preferences.md",),
)
AFTER = "learn/interpretability.md"  # where a reader starts who knows the whole ladder
_KINDS = ("single", "output", "numeric")  # quick to answer, on a phone too
_WORDS = 100  # read in a minute, cells run
_EXERCISE = 15  # minutes, where an exercise does not say


def placement() -> dict[str, Any]:
    """The ``steps`` of the way, the page to ``start`` at for each number of known rungs, and the ``items``.

    A step has ``page``, ``title``, ``minutes`` of reading, its ``exercises`` by name, and ``practice``, their
    minutes. An item has ``id``, the page it is ``at``, its ``rung``, how many ``options`` there are to guess
    from, and whether it is ``numeric``.
    """
    exercises = graded()
    return {
        "start": [address(page) for page, *_ in [*LADDER, (AFTER,)]],
        "steps": [_step(page, exercises.get(page, [])) for page in sections()["Learn"]],
        "items": list(chain.from_iterable(_items(chapter) for chapter in quiz.chapters())),
    }


def _step(page: str, names: list[str]) -> dict[str, Any]:
    prose = " ".join(prose_lines((DOCS / page).read_text("utf-8")))
    return {
        "page": address(page),
        "title": heading_at(page),
        "minutes": round(len(prose.split()) / _WORDS),
        "exercises": names,
        "practice": sum(exercise(name).minutes or _EXERCISE for name in names),
    }


def _items(chapter: quiz.Chapter) -> list[dict[str, Any]]:
    rungs = {page: rung for rung, pages in enumerate(LADDER) for page in pages}
    found = []
    for question in chapter.questions:
        rung = rungs.get(question.see.partition("#")[0])
        if rung is not None and question.kind in _KINDS:
            choices = question.variants[0].choices
            is_numeric = question.kind == "numeric"
            options = len(choices) + is_numeric  # of numbers, the right one is not a choice
            at = address(quiz_pages.part_of(chapter.name))
            found.append(
                {"id": question.id, "at": at, "rung": rung, "options": options, "numeric": is_numeric}
            )
    return found


def main() -> None:
    """Write the file."""
    write(FILE, json.dumps(placement(), ensure_ascii=False) + "\n")
