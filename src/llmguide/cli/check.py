"""``llmguide check``: evaluate a project run, an assignment or a model, and pass or fail it."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from llmguide.extras import import_extra
from llmguide.projects import MODULES
from llmguide.projects.acceptance import require_finished, verdict
from llmguide.projects.assignments import NAMES, assignment_of
from llmguide.projects.assignments.assignment import Assignment, listed
from llmguide.projects.assignments.folder import ADAPTER, BASE_ADAPTER, MARKER, is_folder_of
from llmguide.projects.learner_model import Model, open_model
from llmguide.projects.run import read_run
from llmguide.runs.folder import say

DESCRIPTION = """\
Check a run of llmguide project, an assignment of llmguide start, or a model of your own, by evaluating the
model on held-out data. A model of your own is a Python file that defines generate(prompt),
logprob(prompt, completion) or reward(prompt, completion), the URL of an OpenAI-compatible server, or a folder
that llmguide or transformers saved. The exit status is 0 if all criteria pass, and 1 otherwise.

Examples:
  llmguide check character-model
  llmguide check character-model assignments/character-model
  llmguide check instruction-tuning http://localhost:8000/v1#my-model
  llmguide check rlhf my_policy.py --base my_sft_policy.py"""


if TYPE_CHECKING:
    Project = str
else:
    Project = tyro.extras.literal_type_from_choices(MODULES)


def check(
    name: Annotated[
        tyro.conf.Positional[Project],
        tyro.conf.arg(metavar="PROJECT", help=f"One of {', '.join(MODULES)}."),
    ],
    source: Annotated[
        tyro.conf.Positional[str | None],
        tyro.conf.arg(metavar="RUN|ASSIGNMENT|MODEL", help_behavior_hint="(default: runs/PROJECT)"),
    ] = None,
    *,
    base: str | None = None,
) -> None:
    """Evaluate a run, an assignment or a model, and exit with status 1 if a criterion fails.

    Args:
        name: Name of the project.
        source: Folder of a run, folder of an assignment, or model (Python file, URL or saved folder).
        base: Model to compare with, such as the one before training, for projects that compare two models
            (Python file, URL or saved folder).
    """
    source = source or f"runs/{name}"
    folder = Path(source)
    if not (folder.exists() or folder.suffix == ".py" or "://" in source):
        raise ValueError(_missing(name, folder))
    is_run = name not in NAMES or _is_run(folder)
    if base and (is_run or not assignment_of(name).base_functions):
        raise ValueError("this check compares the model with no base; leave out --base")
    if is_run:
        if name in NAMES and not (folder / "run.json").exists():
            raise ValueError(f"{folder} is empty. {_create(name, folder)} {folder}")
        require_finished(name, folder)
        criteria = import_module(f"llmguide.projects.{MODULES[name]}").check(folder)
    else:
        assignment = assignment_of(name)
        if is_folder_of(assignment, folder):
            if not _parts_pass(assignment, folder):
                raise SystemExit(1)
            source = str(folder / ADAPTER)
            if not (folder / ADAPTER).exists():
                raise ValueError(f"{source} does not exist; llmguide start {name} {folder} writes it again")
            base = base or (str(folder / BASE_ADAPTER) if assignment.base_functions else None)
        elif (folder / ADAPTER).exists():
            raise ValueError(
                f"{folder} has no {MARKER}, so it is not an assignment; to check the model alone, give "
                f"{folder / ADAPTER}"
            )
        compared = open_model(base, assignment.decoding) if base else None
        model = open_model(source, assignment.decoding)
        missing = [name for name in assignment.optional if name not in model.functions]
        if missing and source == str(folder / ADAPTER):
            raise ValueError(f"{source} does not define {', '.join(missing)}, which this check calls")
        if missing and model.functions.keys() >= {*assignment.functions}:
            say(f"{source} does not define {', '.join(missing)}; fewer criteria are checked")
        with _counting(model, compared) as (counted, counted_base):
            criteria = assignment.check(counted, counted_base)
    if not verdict(name, source, criteria):
        raise SystemExit(1)


@contextmanager
def _counting(model: Model, base: Model | None) -> Iterator[tuple[Model, Model | None]]:
    """Show how many answers each model has given, since a check can take thousands.

    A terminal shows counters. Elsewhere, such as in a log, a line appears after every hundred answers.
    """
    if not sys.stderr.isatty():
        yield (
            _advancing(model, _line_per_hundred("the model")),
            _advancing(base, _line_per_hundred("the base")) if base else None,
        )
        return
    rich = import_extra("rich.progress", "cli", "the number of answers")
    terminal = import_extra("rich.console", "cli", "the number of answers").Console(stderr=True)
    columns = (
        *(rich.SpinnerColumn(), rich.TextColumn("{task.completed:,} answers of {task.description}")),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns, console=terminal) as shown:

        def counted(model: Model, label: str) -> Model:
            return _advancing(model, partial(shown.advance, shown.add_task(label, total=None)))

        yield counted(model, "the model"), counted(base, "the base") if base else None


def _advancing(model: Model, advance: Callable[[], None]) -> Model:
    """Return a model that reports each of its answers."""

    def reporting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            answer = function(*arguments)
            advance()
            return answer

        return call

    return replace(model, functions={name: reporting(f) for name, f in model.functions.items()})


def _line_per_hundred(label: str) -> Callable[[], None]:
    numbers = count(1)

    def advance() -> None:
        n = next(numbers)
        if n % 100 == 0:
            print(f"{n:,} answers of {label}", file=sys.stderr, flush=True)

    return advance


def _missing(name: str, folder: Path) -> str:
    """Return the message about a missing folder: a similar name beside it, and how to create it."""
    siblings = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
    close = get_close_matches(folder.name, siblings, n=1)
    meant = f"; did you mean {folder.with_name(close[0])}?" if close else "."
    if re.match(r"[\w.-]+:\d+(/|$)", str(folder)):
        return f"{folder} does not exist; for a server, write http://{folder}"
    return f"{folder} does not exist{meant} {_create(name, folder)}"


def _create(name: str, folder: Path) -> str:
    start = f", or start the assignment with: llmguide start {name}" if name in NAMES else ""
    return f"Create a run with: llmguide project {name} --output {folder}{start}"


def _is_run(folder: Path) -> bool:
    """Return whether a folder is a run of a project, or empty, where a run is expected."""
    if folder.is_dir() and not any(folder.iterdir()):
        return True
    return (folder / "run.json").exists() and "project" in read_run(folder)


def _parts_pass(assignment: Assignment, folder: Path) -> bool:
    """Print which parts pass, and why each part that is written fails; return whether all pass."""
    grades = assignment.grades(folder)
    n_passed = sum(grade.passed for grade in grades.values())
    say(f"{listed(grades)}\n\n{n_passed} of {len(grades)} parts pass.")
    return n_passed == len(grades)


COMMAND = check
