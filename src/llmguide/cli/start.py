"""``llmguide start``: start the assignment of a project, or show its progress."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from llmguide.projects.assignments import NAMES, assignment_of
from llmguide.projects.assignments.assignment import listed
from llmguide.projects.assignments.folder import write_folder
from llmguide.runs.folder import say

DESCRIPTION = """\
Start a project as an assignment. The command writes a folder with a specification, stubs of the functions to
implement, tests, an adapter for your model and a report template. Repeat the command to see which parts pass
([x]) and which are wrong ([!]); it never overwrites your files.

Examples:
  llmguide start character-model
  llmguide start reward-model homework/reward"""


def _start_of(name: str) -> Callable[..., None]:
    def command(
        folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")] = Path("assignments")
        / name,
    ) -> None:
        """Write the files of the assignment that do not exist yet, and show which parts pass.

        Args:
            folder: Folder of the assignment; created if it does not exist.
        """
        assignment = assignment_of(name)
        written = write_folder(assignment, folder)
        say(f"{folder}: wrote {', '.join(written)}" if written else f"{folder}: all files exist")
        say(listed(assignment.grades(folder)))
        say(f"Read {folder / 'SPEC.md'}. To check your work: llmguide check {name} {folder}")

    return command


COMMAND = {name: _start_of(name) for name in NAMES}
