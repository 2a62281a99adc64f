"""``llmguide learn``: solve the exercises in files that are graded at each save."""

import sys
from pathlib import Path

from llmguide.exercises.course import Course, watch
from llmguide.exercises.solutions import write_certificate

DESCRIPTION = """\
Solve the exercises of the guide in your editor. The command writes the next exercise to a file, with the
task as a comment. Each time you save the file, your function is compared with the package's solution. The
message names your mistake if it is a common one, and otherwise gives the next hint. After a right answer,
the command writes the file of the next exercise.

The ladder comes first: you build one small GPT in exercises that build on each other, from the tokenizer to
fine-tuning. The exercises of the chapters follow. Later exercises of the ladder call your earlier answers, or
the package's solutions where you have no answer, so you can start anywhere. Your progress is stored in
progress.json in the folder. Your code runs in this process, without a sandbox. The folder also gets an
AGENTS.md, which tells coding assistants to explain and to give hints, not to write answers. Press Ctrl-C to
stop.

With --certificate, the command writes your solved exercises to one file instead. You can send it to others,
such as a teacher, who run your solutions again with llmguide verify.

Examples:
  llmguide learn
  llmguide learn --list
  llmguide learn --start gpt
  llmguide learn --start causal-mask --folder my-answers
  llmguide learn --certificate ada.json"""


def learn(
    *,
    folder: Path = Path("learn"),
    start: str | None = None,
    list: bool = False,  # noqa: A002  # name of the option
    certificate: Path | None = None,
) -> None:
    """Solve the exercises in files that are graded at each save.

    Args:
        folder: Folder of your answers and your progress; created if it does not exist.
        start: Name of the exercise to begin with; default: the first exercise that is not solved.
        list: Print all exercises, with an x before those that are solved, and exit.
        certificate: File to write your solved exercises to; an existing one is replaced.
    """
    course = Course(folder, start)
    if list:
        sys.stdout.write("\n".join([*course.listed(), course.bar()]) + "\n")
        return
    if certificate:
        sources = course.solutions()
        write_certificate(certificate, sources)
        print(f"{certificate}: {len(sources)} solutions; llmguide verify {certificate} runs them again")
        return
    watch(course, lambda message: print(f"{message}\n", flush=True))


COMMAND = learn
