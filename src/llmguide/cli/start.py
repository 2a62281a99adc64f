"""``llmguide start``: write the assignment of a project, or resume it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from llmguide.projects.assignments import NAMES, assignment_of
from llmguide.projects.assignments.folder import write_folder
from llmguide.runs.folder import say

DESCRIPTION = """\
Start a project as an assignment: a folder with a specification, stubs, tests, an adapter for your model and a
report template. Repeat the command to see how far you are; your files are never overwritten.

Examples:
  llmguide start character-model
  llmguide start reward-model homework/reward"""


def _start_of(name: str) -> Callable[..., None]:
    def command(
        folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")] = Path("assignments")
        / name,
    ) -> None:
        """Write the files of the assignment that are missing, and show which parts pass.

        Args:
            folder: Folder of the assignment.
        """
        assignment = assignment_of(name)
        written = write_folder(assignment, folder)
        say(f"{folder}: wrote {', '.join(written)}" if written else f"{folder}: nothing is missing")
        for part, grade in assignment.grades(folder).items():
            say(f"  {'[x]' if grade.passed else '[ ]'} {part}")
        say(f"read {folder / 'SPEC.md'}, then: llmguide check {name} {folder}")

    return command


COMMAND = {name: _start_of(name) for name in NAMES}
