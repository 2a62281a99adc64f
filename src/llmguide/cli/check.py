"""``llmguide check``: evaluate a run of a project, an assignment or any model, and pass or fail it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import tyro

from llmguide.projects import MODULES
from llmguide.projects.acceptance import verdict
from llmguide.projects.adapters import open_model
from llmguide.projects.assignments import NAMES, assignment_of
from llmguide.projects.assignments.assignment import Assignment
from llmguide.projects.assignments.folder import ADAPTER, BASE_ADAPTER, MARKER
from llmguide.projects.run import read_run
from llmguide.runs.folder import say

DESCRIPTION = """\
Check a project: a run of llmguide project, the assignment of llmguide start, or a model of yours, which is a
Python file with generate(prompt), logprob(prompt, completion) or reward(prompt, completion), the URL of an
OpenAI-compatible server, or a saved folder. It is evaluated on held-out data. The exit status is 0 if it
passes, and 1 if not.

Examples:
  llmguide check character-model
  llmguide check character-model assignments/character-model
  llmguide check instruction-tuning http://localhost:8000/v1#my-model
  llmguide check rlhf my_policy.py --base my_sft_policy.py"""


def _check_of(name: str) -> Callable[..., None]:
    def command(
        source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|ASSIGNMENT|MODEL")] = (
            f"runs/{name}"
        ),
        base: str | None = None,
    ) -> None:
        """Evaluate a run, an assignment or a model, and exit with status 1 if it fails.

        Args:
            source: Run folder, folder of an assignment, or model: a Python file, a URL or a saved folder.
            base: Model before training, for the projects that compare with it.
        """
        folder = Path(source)
        if name not in NAMES or _is_run(source):
            criteria = import_module(f"llmguide.projects.{MODULES[name]}").check(folder)
        else:
            assignment = assignment_of(name)
            if (folder / MARKER).exists():
                if not _parts_pass(assignment, folder):
                    raise SystemExit(1)
                source = str(folder / ADAPTER)
                base = base or (str(folder / BASE_ADAPTER) if assignment.compares else None)
            before = open_model(base, assignment.decoding) if base else None
            criteria = assignment.check(open_model(source, assignment.decoding), before)
        if not verdict(f"{name}: {source}", criteria):
            raise SystemExit(1)

    return command


def _is_run(source: str) -> bool:
    """Return whether a folder is a run of a project, or where one is expected."""
    folder = Path(source)
    if not folder.exists():
        return not source.endswith(".py") and "://" not in source
    return (folder / "run.json").exists() and "project" in read_run(folder)


def _parts_pass(assignment: Assignment, folder: Path) -> bool:
    """Print the grade of each part, with the first message that helps."""
    grades = assignment.grades(folder)
    for part, grade in grades.items():
        say(f"  {'[x]' if grade.passed else '[ ]'} {part}")
    failed = [grade for grade in grades.values() if not grade.passed]
    if failed:
        say(f"\n{len(grades) - len(failed)} of {len(grades)} parts pass.\n{failed[0].message}")
    return not failed


COMMAND = {name: _check_of(name) for name in MODULES}
