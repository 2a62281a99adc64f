"""The list of all graded exercises, each with its page: docs/exercises.md."""

import re

from llmguide.exercises import Exercise, exercise
from llmguide.exercises.ladder import EXERCISES as LADDER
from tools import DOCS, generated_head
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

_LADDER = """\
## The ladder

One small language model, from a tokenizer to fine-tuning, in steps that build on each other. Each step can
call the functions of the steps before it: your own, if you have solved them on this page, and otherwise the
package's. So you can start anywhere. After the step `write`, a model made of your functions learns a short
text and continues it.

In a terminal, `llmguide learn` asks the same exercises. It writes each one to a file in a folder, checks
the file whenever you save it, and remembers what you have solved. `llmguide learn --start gpt` starts at
another step.

A model is a dict of tensors: `tokens` (V, D), `positions` (T, D), the final norm `norm` (D,) and `layers`,
a list with a dict for each layer. A layer has the norms `norm_1` and `norm_2` (D,), the matrices of
attention `q`, `k`, `v` and `o` (D, D), and those of the feed-forward layer, `up` (4D, D) and `down` (D,
4D). Matrices are stored as in `torch.nn.Linear`, outputs by inputs; there are no biases.
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
    chapters = (_chapter(*pair) for pair in placed().items())
    rungs = (f"@exercise {found.name}\n" for found in LADDER)
    return "\n".join([head, _INTRODUCTION.strip(), "", *chapters, _LADDER, *rungs])


def _chapter(page: str, names: list[str]) -> str:
    title = re.findall(r"^# (.+?)(?: \{.*\})?$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)[0]
    items = [f"- {_linked(exercise(name), f'{page}#exercise-{name}')}" for name in names]
    return "\n".join([f"## {title}\n", '<div class="exercise-list" markdown>\n', *items, "\n</div>\n"])


def _linked(found: Exercise, address: str) -> str:
    return f"[`{found.signature}`]({address}){task(found).removeprefix(f'`{found.signature}`')}"
