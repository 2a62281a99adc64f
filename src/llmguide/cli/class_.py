"""``llmguide class``: hand out exercises to a class, collect the answers, and grade them."""

from pathlib import Path
from typing import Annotated

import tyro

from llmguide.coding.sandbox.replies import printable
from llmguide.exercises import classroom

DESCRIPTION = """\
For teachers: hand out exercises of the guide, collect the answers, and grade them on your machine, without a
server or accounts. Each answer runs in a sandbox of its own, which needs Linux.

The subcommand new writes a folder whose subfolder handout is for your students. It contains index.html, a
page with the tasks. You can put it on any web server, or hand out the folder. collect copies the answers from
a folder that contains a folder or a JSON file for each student. report grades them, prints a table and writes
report.csv, with the name of the mistake where it is a known one. To see the message that belongs to it, run
llmguide verify on a file in submissions.

Each student has a seed. A right answer passes the public tests of the exercise, and hidden tests whose
inputs are sampled with this seed. An answer can still take its results from the package or be a copy of its
solution, so read the files where grades matter.

Examples:
  llmguide class new week-1 --exercises temperature top-p causal-mask
  llmguide class new ladder --exercises ladder
  llmguide class collect week-1 downloads/week-1
  llmguide class report week-1"""

Folder = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CLASS")]


def new(folder: Folder, *, exercises: tuple[str, ...]) -> None:
    """Write the folder of a class.

    Args:
        folder: New folder to write.
        exercises: Names of exercises, as llmguide learn --list shows them; ladder for all of the ladder.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists already; name a new folder")
    asked = classroom.chosen(exercises)
    classroom.write_class(folder, asked)
    handout = folder / classroom.HANDOUT
    print(f"{handout}: the page and the files of {len(asked)} exercises, for your students")
    print(f"{folder / classroom.CLASS}: contains the seed of the hidden tests, so keep it to yourself")


def collect(
    folder: Folder, answers: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ANSWERS")]
) -> None:
    """Copy the answers of the students, and exit with status 1 if some could not be read.

    Args:
        folder: Folder of the class.
        answers: Folder that contains, for each student, a folder with the files, or a JSON file of llmguide
            learn --certificate or of the page Progress. Its name is that of the student.
    """
    missing, problems = classroom.collect(folder, answers)
    for student, names in missing.items():
        print(printable(f"{student}: {'missing ' + ', '.join(names) if names else 'complete'}"))
    for problem in problems:
        print(printable(f"not collected: {problem}"))
    if problems:
        raise SystemExit(1)


def report(folder: Folder) -> None:
    """Grade the collected answers, print a table, and write it to report.csv.

    Args:
        folder: Folder of the class.
    """
    print(classroom.as_table(classroom.report(folder)))
    print(f"\nwritten to {folder / classroom.REPORT}")


COMMAND = {"new": new, "collect": collect, "report": report}
