"""The list of all graded exercises: finds on which page each stands, writes docs/exercises.md.

Examples::

    python -m tools.exercises      write the page
"""

import re

from llmguide.exercises import Exercise, exercise
from tools import DOCS, generated_head, write
from tools.fences import prose_lines
from tools.markdown.exercises import LINE, task
from tools.twins import sections

PAGE = DOCS / "exercises.md"
_INTRODUCTION = """
Functions to write, on every chapter. What you write is checked in your tab against the package, and a typical
mistake is recognized by what it computes, and named. Your answers and marks stay in your browser.
"""


def placed() -> dict[str, list[str]]:
    """For each page the names of its graded exercises, both in the order in which they are read.

    Raises:
        ValueError: An exercise stands in two places.
    """
    found: dict[str, list[str]] = {}
    for page in [page for group in sections().values() for page in group]:
        path = DOCS / page
        if path != PAGE and path.is_file():
            prose = "\n".join(prose_lines(path.read_text(encoding="utf-8")))
            if names := [match["name"] for match in LINE.finditer(prose)]:
                found[page] = names
    names = [name for group in found.values() for name in group]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"exercises that stand in two places: {', '.join(sorted(twice))}")
    return found


def render() -> str:
    """The page that lists them."""
    head = generated_head(
        "Exercises",
        "Functions to write on every chapter, checked in your tab; typical mistakes are named.",
        "tools/exercises.py from the pages and src/llmguide/exercises",
    )
    return "\n".join([head, _INTRODUCTION.strip(), "", *(_chapter(*pair) for pair in placed().items())])


def _chapter(page: str, names: list[str]) -> str:
    title = re.findall(r"^# (.+?)(?: \{.*\})?$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)[0]
    items = [f"- {_linked(exercise(name), f'{page}#exercise-{name}')}" for name in names]
    return "\n".join([f"## {title}\n", '<div class="exercise-list" markdown>\n', *items, "\n</div>\n"])


def _linked(found: Exercise, address: str) -> str:
    return f"[`{found.signature}`]({address}){task(found).removeprefix(f'`{found.signature}`')}"


if __name__ == "__main__":
    write(PAGE, render())
