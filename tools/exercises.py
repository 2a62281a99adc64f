"""The list of all graded exercises: finds the page of each, writes docs/exercises.md.

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
Each exercise asks you to write one function. Your code runs in your browser tab and is compared with the
package's function on test inputs. If its results match those of a typical mistake, the check names the
mistake and gives a hint. In Python, `llmguide.exercises.grade` does the same. Your code and your results stay
in your browser.
"""


def placed() -> dict[str, list[str]]:
    """For each page the names of its graded exercises, both in reading order.

    Raises:
        ValueError: An exercise is on two pages.
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
        raise ValueError(f"exercises on two pages: {', '.join(sorted(twice))}")
    return found


def render() -> str:
    """The page that lists them."""
    head = generated_head(
        "Exercises",
        "Functions to write for every chapter, checked in your browser tab; typical mistakes are named.",
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
