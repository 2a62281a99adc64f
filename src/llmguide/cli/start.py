"""``llmguide start``: start the assignment of a project, or show its progress."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from llmguide.projects.assignments import NAMES, assignment_of
from llmguide.projects.assignments.assignment import listed
from llmguide.projects.assignments.folder import write_folder
from llmguide.runs.folder import say

DESCRIPTION = """\
Start a project as an assignment. The command writes a folder with a specification, stubs of the functions to
implement, tests, an adapter for your model and a report template. Repeat the command to see
which parts pass, marked [x], and which are wrong, marked [!], and why; it never overwrites your files.

Examples:
  llmguide start character-model
  llmguide start reward-model homework/reward"""


if TYPE_CHECKING:
    Project = str
else:
    Project = tyro.extras.literal_type_from_choices(NAMES)


def start(
    name: Annotated[
        tyro.conf.Positional[Project], tyro.conf.arg(metavar="PROJECT", help=f"One of {', '.join(NAMES)}.")
    ],
    folder: Annotated[
        tyro.conf.Positional[Path | None],
        tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: assignments/PROJECT)"),
    ] = None,
) -> None:
    """Write the files of the assignment that do not exist yet, and show which parts pass.

    Args:
        name: Name of a project that has an assignment.
        folder: Folder of the assignment; created if it does not exist.
    """
    folder = folder or Path("assignments") / name
    assignment = assignment_of(name)
    written = write_folder(assignment, folder)
    say(f"{folder}: wrote {', '.join(written)}" if written else f"{folder}: all files exist")
    say(listed(assignment.grades(folder)))
    say(f"Read {folder / 'SPEC.md'}. To check your work: llmguide check {name} {folder}")


COMMAND = start
