"""``llmguide learn``: solve the exercises in files that are checked at each save."""

import sys
from pathlib import Path

from llmguide.exercises.course import Course, watch

DESCRIPTION = """\
Solve the exercises of the guide in your editor. The next exercise is written to a file in a folder, with
its task as a comment. Each time you save the file, your function is compared with the package's: a typical
mistake is named, and other failures get one hint after the other. After a right answer the next file is
opened.

First comes the ladder, one small GPT in steps that build on each other, from the tokenizer to fine-tuning;
then the exercises of the chapters. Later steps call your own earlier answers, or the package's where you have
none, so you can start anywhere. Progress is kept in progress.json in the folder. Your code runs in this
process, without a sandbox. Ctrl-C stops.

Examples:
  llmguide learn
  llmguide learn --list
  llmguide learn --start gpt
  llmguide learn --start causal-mask --folder my-answers"""


def learn(*, folder: Path = Path("learn"), start: str | None = None, list: bool = False) -> None:  # noqa: A002
    """Solve the exercises in files that are checked at each save.

    Args:
        folder: Folder of your answers and your progress.
        start: Exercise to begin with; default: the first that is not solved.
        list: Print all exercises, solved (x) or not, and exit.
    """
    course = Course(folder, start)
    if list:
        sys.stdout.write("\n".join([*course.listed(), course.bar()]) + "\n")
        return
    watch(course, lambda message: print(f"{message}\n", flush=True))


COMMAND = learn
