"""``llmguide learn``: solve the exercises in files that are graded at each save."""

import sys
from pathlib import Path

from llmguide.exercises.course import Course, watch

DESCRIPTION = """\
Solve the exercises of the guide in your editor. The command writes the next exercise to a file, with the
task as a comment. Each time you save the file, your function is compared with the package's solution. The
message names your mistake if it is a common one, and otherwise gives the next hint. After a right answer,
the command writes the file of the next exercise.

The ladder comes first: you build one small GPT in exercises that build on each other, from the tokenizer to
fine-tuning. The exercises of the chapters follow. Later exercises of the ladder call your earlier answers, or
the package's solutions where you have no answer, so you can start anywhere. Your progress is stored in
progress.json in the folder. Your code runs in this process, without a sandbox. Press Ctrl-C to stop.

Examples:
  llmguide learn
  llmguide learn --list
  llmguide learn --start gpt
  llmguide learn --start causal-mask --folder my-answers"""


def learn(*, folder: Path = Path("learn"), start: str | None = None, list: bool = False) -> None:  # noqa: A002
    """Solve the exercises in files that are graded at each save.

    Args:
        folder: Folder of your answers and your progress; created if it does not exist.
        start: Name of the exercise to begin with; default: the first exercise that is not solved.
        list: Print all exercises, with an x before those that are solved, and exit.
    """
    course = Course(folder, start)
    if list:
        sys.stdout.write("\n".join([*course.listed(), course.bar()]) + "\n")
        return
    watch(course, lambda message: print(f"{message}\n", flush=True))


COMMAND = learn
