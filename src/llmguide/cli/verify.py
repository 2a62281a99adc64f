"""``llmguide verify``: run the solutions of a certificate again."""

from pathlib import Path
from typing import Annotated

import tyro

from llmguide import __version__
from llmguide.coding.sandbox.replies import printable
from llmguide.exercises import exercises
from llmguide.exercises.sandbox import Sandbox
from llmguide.exercises.solutions import read_solutions

DESCRIPTION = """\
Run the solutions in a certificate again, each in a sandbox, and print which are right. A certificate is
written by llmguide learn --certificate. The file that the guide's page Progress exports works as well. The
command says if the file was changed after it was written, if another version of the guide wrote it, and if
an exercise is unknown. It shows that the solutions work, not who wrote them.

The sandbox needs Linux. The exit status is 0 if all solutions are right and the file is unchanged, and 1
otherwise.

Examples:
  llmguide verify ada.json
  llmguide verify class/submissions/ada.json"""


def verify(file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]) -> None:
    """Run the solutions in a file again, and exit with status 1 if one is wrong.

    Args:
        file: Certificate, or file that the page Progress exported.
    """
    found = read_solutions(file)
    if not found.sources:
        raise ValueError(f"{file} contains no solution; solve an exercise first")
    known = [name for name in exercises() if name in found.sources]
    right = 0
    if known:
        with Sandbox() as sandbox:
            for name in known:
                result = sandbox.grade(name, found.sources[name], found.sources, found.seed)
                right += result.passed
                print(result.message, flush=True)
    for name in found.sources.keys() - set(known):
        print(f"{printable(name)}: llmguide {__version__} has no exercise of this name.")
    if found.guide not in {"", __version__}:
        print(f"{file} was written by llmguide {printable(found.guide)}; this is {__version__}.")
    if found.changed:
        print(f"{file} was changed after it was written: its checksum is wrong.")
    print(f"{right} of {len(found.sources)} solutions are right.")
    if found.changed or right < len(found.sources):
        raise SystemExit(1)


COMMAND = verify
