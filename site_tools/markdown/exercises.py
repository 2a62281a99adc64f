"""``@exercise causal-mask`` shows a graded exercise of the package: task, code to complete, hints, solution.

All of it comes from `llmguide.exercises` and from docs/_data/answers, so a page only names what it asks. With
its script the code can be edited and checked; without, hints and solution are folded text.
"""

import ast
import re
from functools import cache
from html import escape

from llmguide.exercises import Exercise, exercise
from llmguide.exercises.checking import needed
from site_tools import DATA
from site_tools.fences import dump
from site_tools.markdown import replacing
from site_tools.markdown.cells import loads
from site_tools.markdown.source import extract

LINE = re.compile(r"^@exercise (?P<name>[\w-]+)[ ]*$", re.MULTILINE)
ANSWERS = DATA / "answers"
_SPECIAL = re.compile(r"[\\*_\[\]{}$]")


def _block(match: re.Match[str]) -> str:
    found = exercise(match["name"])
    parts = " ".join(f"{name}:{size}" for name, size in loads("torch").items())
    attributes = f'id="exercise-{found.name}" data-name="{found.name}"'
    attributes += f' data-loads="{parts}"' if parts else ""
    return f'<div class="exercise" {attributes} markdown>\n\n{rendered(found)}\n\n</div>\n'


def rendered(found: Exercise) -> str:
    """Task, code to complete, hints and solution as Markdown.

    Raises:
        ValueError: docs/_data/answers has no solution to show.
    """
    imports, answer = solution(found)
    calls = [f"# you may call {earlier.signature}" for earlier in needed(found.needs)]
    stub = [*imports.split("\n"), *calls, "", ""] if imports else [*calls, "", ""] if calls else []
    stub += [f"def {found.signature}:", "    ..."]
    return "\n".join(
        [
            f"**Exercise `{found.name}`{effort(found)}.** {task(found)}",
            "",
            *dump("{.python .stub}", stub, ""),
            *(line for hint in found.hints for line in ("", '??? tip "Hint"', "", f"    {plain(hint)}")),
            "",
            '??? success "Solution"',
            "",
            *dump("{.python}", answer.split("\n"), "    "),
        ]
    )


def solution(found: Exercise) -> tuple[str, str]:
    """The imports that a solution needs, and the solution.

    Raises:
        ValueError: docs/_data/answers has none.
    """
    imports, answer = _answers().get(found.function, ("", ""))
    if not answer:
        raise ValueError(f"@exercise {found.name}: no file in docs/_data/answers defines {found.function}")
    return imports, answer


def effort(found: Exercise) -> str:
    """Difficulty and time, where they are known.

    >>> effort(exercise("kv-cache"))
    ' (hard, 40 minutes)'
    """
    return f" ({found.level}, {found.minutes} minutes)" if found.level else ""


def task(found: Exercise) -> str:
    """The task as Markdown, its signature as code."""
    return f"`{found.signature}`{plain(found.task.removeprefix(found.signature))}"


def plain(text: str) -> str:
    r"""Text in which only what stands in `backticks` is Markdown.

    >>> print(plain("theta ** (-2 i / E), see `a_b`"))
    theta \*\* (-2 i / E), see `a_b`
    """
    parts = text.split("`")
    parts[::2] = [_SPECIAL.sub(r"\\\g<0>", escape(part, quote=False)) for part in parts[::2]]
    return "`".join(parts)


@cache
def _answers() -> dict[str, tuple[str, str]]:
    """For each function of docs/_data/answers the imports that it needs, and its source."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(ANSWERS.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        statements = ast.parse(text).body
        imports = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in statements:
            if isinstance(node, ast.FunctionDef):
                used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
                needed = [line for statement in imports if (line := _only(statement, used))]
                found[node.name] = ("\n".join(needed), extract(node, text.split("\n"), docstrings=False))
    return found


def _only(statement: ast.Import | ast.ImportFrom, used: set[str]) -> str:
    """An import with the names that are used, empty if there are none."""
    names = [alias for alias in statement.names if (alias.asname or alias.name) in used]
    if not names:
        return ""
    shorter = type(statement)(**{**dict(ast.iter_fields(statement)), "names": names})
    return ast.unparse(shorter)


def written_out(prose: str, page: str, source: str) -> str:
    """Prose with its exercises."""
    return LINE.sub(lambda match: rendered(exercise(match["name"])), prose)


# before fences are read
makeExtension = replacing("exercises", LINE, _block, 29.5)
