"""A course through the exercises: each exercise is a file that is graded whenever it is saved.

The folder of the course contains one file for each exercise that was opened, ``progress.json``, which is
written atomically, and ``AGENTS.md``, which tells coding assistants to explain and not to write the answers.
Later exercises call the functions in the files of earlier exercises that are solved.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import fill

from llmguide.exercises.checking import check, needed
from llmguide.exercises.definition import Exercise
from llmguide.exercises.grading import Grade, exercise, exercises
from llmguide.exercises.ladder import EXERCISES as LADDER
from llmguide.files import write_json, write_text

PROGRESS, AGENTS = "progress.json", "AGENTS.md"
_WIDTH = 100
_PAUSE = 0.3  # seconds between two checks of a file
_NO_ATTEMPT = {"not written", "does not run", "earlier answer"}  # mistakes that use up no hint


class Course:
    """The reader's progress through all exercises; the ladder comes first.

    Args:
        folder: Folder of the answers and the progress; `open` creates it if it does not exist.
        start: Name of the exercise to begin with; None: the first exercise that is not solved.

    Raises:
        ValueError: There is no such exercise, or the file with the progress is invalid.
    """

    def __init__(self, folder: Path, start: str | None = None) -> None:
        self.folder = folder
        self.solved, self.failures = _load(folder / PROGRESS)
        self.order = [*LADDER, *(found for found in exercises().values() if found not in LADDER)]
        self.current: Exercise | None = exercise(start) if start is not None else self._next(0)

    def path(self, asked: Exercise) -> Path:
        """Return the path of the file of an exercise."""
        return self.folder / f"{asked.name}.py"

    def open(self) -> str:
        """Write the file of the current exercise if there is none yet, and return a message to the reader."""
        if self.current is None:
            return f"All {len(self.order)} exercises are solved."
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(self.current)
        for file, text in ((path, stub(self.current)), (self.folder / AGENTS, agents())):
            if not file.exists():
                write_text(file, text)
        return f"{self.bar()}\n\n{described(self.current)}\n\nEdit {path} and save it."

    def save(self) -> tuple[bool, str]:
        """Grade the file of the current exercise, and move on to the next exercise if it is right.

        Returns:
            Whether the answer is right, and a message to the reader.

        Raises:
            FileNotFoundError: The file does not exist.
        """
        asked = self.current
        if asked is None:
            return True, self.open()
        result = self._graded(asked)
        if result.passed:
            self.solved.add(asked.name)
            self.failures.pop(asked.name, None)
            self.current = self._next(self.order.index(asked) + 1)
        elif result.mistake not in _NO_ATTEMPT:
            self.failures[asked.name] = self.failures.get(asked.name, 0) + 1
        write_json(self.folder / PROGRESS, {"solved": sorted(self.solved), "failures": self.failures})
        return result.passed, f"{result.message}\n{self._explained(asked, result)}".rstrip()

    def bar(self) -> str:
        """Return a progress bar of the ladder, and the number of all exercises that are solved."""
        rungs = sum(found.name in self.solved for found in LADDER)
        filled = "#" * rungs + "." * (len(LADDER) - rungs)
        everything = f"all exercises {len(self.solved)} of {len(self.order)}"
        return f"[{filled}] ladder {rungs} of {len(LADDER)}, {everything}"

    def listed(self) -> Iterator[str]:
        """Yield a line for each exercise: x if it is solved, the name, and the level and time where known."""
        for found in self.order:
            effort = f"{found.level}, {found.minutes} min" if found.level else ""
            yield f"{'x' if found.name in self.solved else '.'} {found.name:22} {effort}".rstrip()

    def solutions(self) -> dict[str, str]:
        """Return the sources of the solved exercises, by name.

        Raises:
            ValueError: None is solved, or a file is not UTF-8.
        """
        paths = {found.name: self.path(found) for found in self.order if found.name in self.solved}
        sources = {name: read_source(path) for name, path in paths.items() if path.exists()}
        if not sources:
            raise ValueError(f"{self.folder} has no solved exercise; solve one with llmguide learn")
        return sources

    def _graded(self, asked: Exercise) -> Grade:
        answers = {found.name: self.path(found) for found in needed((*asked.needs, *asked.demo_needs))}
        try:
            solved = {name: path for name, path in answers.items() if name in self.solved and path.exists()}
            earlier = {name: read_source(path) for name, path in solved.items()}
            source = read_source(self.path(asked))
        except ValueError as error:
            return Grade(False, str(error), "does not run")
        return check(asked.name, source, earlier)

    def _explained(self, asked: Exercise, result: Grade) -> str:
        """Explain a right answer unless the grade does, and give a hint for a failure that has no name."""
        if result.passed and not asked.after:
            mistake = asked.mistakes[0]
            return f"A common mistake is that {mistake.when}. {mistake.hint}"
        if result.passed or result.mistake:
            return ""
        n = min(self.failures[asked.name], len(asked.hints))
        return f"Hint {n} of {len(asked.hints)}: {asked.hints[n - 1]}"

    def _next(self, start: int) -> Exercise | None:
        """Return the first unsolved exercise from index `start` on, or else the first unsolved exercise."""
        left = [found for found in self.order[start:] + self.order if found.name not in self.solved]
        return left[0] if left else None


def watch(course: Course, tell: Callable[[str], None]) -> None:
    """Grade the file of the current exercise whenever it is saved, until all exercises are solved.

    Args:
        course: The exercises and the reader's progress.
        tell: Function that shows a message to the reader.
    """
    tell(course.open())
    while course.current:
        asked = course.current
        path = course.path(asked)
        seen = _changed(path)
        while course.current is asked:
            seen = _saved(path, seen)
            with suppress(FileNotFoundError):  # removed since: wait for it
                tell(_wrapped(course.save()[1]))
        tell(course.open())


def agents() -> str:
    """Return the instructions for coding assistants that help a reader with exercises."""
    return Path(__file__).with_name(AGENTS).read_text(encoding="utf-8")


def stub(asked: Exercise) -> str:
    """Return the code of an exercise file, with the task as a comment.

    >>> print(stub(exercise("temperature")))
    # temperature: temperature(logits, t) returns the logits at temperature t > 0.
    <BLANKLINE>
    import torch
    import torch.nn.functional as F
    <BLANKLINE>
    <BLANKLINE>
    def temperature(logits, t):
        raise NotImplementedError
    <BLANKLINE>
    """
    task = _filled(repr(asked), "# ")
    calls = "".join(f"# you may call {found.signature}\n" for found in needed(asked.needs))
    imports = "import torch\nimport torch.nn.functional as F"
    return f"{task}\n{calls}\n{imports}\n\n\ndef {asked.signature}:\n    raise NotImplementedError\n"


def described(asked: Exercise) -> str:
    """Return the name, the effort and the task of an exercise."""
    effort = f" ({asked.level}, {asked.minutes} minutes)" if asked.level else ""
    return f"Exercise {asked.name}{effort}\n{_filled(asked.task)}"


def _wrapped(message: str) -> str:
    return "\n".join(map(_filled, message.split("\n")))


def _filled(text: str, indent: str = "") -> str:
    """Break a text into lines at its spaces only, so that names, numbers and code stay whole."""
    return fill(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def read_source(path: Path) -> str:
    """Return the text of a file; raises ValueError if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")  # without a byte order mark
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; save it as UTF-8") from None


def _saved(path: Path, seen: int) -> int:
    """Wait until a file has changed and the change is complete; return its modification time."""
    before = seen
    while (now := _changed(path)) in {seen, 0} or now != before:
        before = now
        time.sleep(_PAUSE)
    return now


def _changed(path: Path) -> int:
    """Return the modification time of a file; 0: no file, as for a moment while some editors save."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _load(path: Path) -> tuple[set[str], dict[str, int]]:
    if not path.exists():
        return set(), {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return set(content["solved"]) & set(exercises()), dict(content["failures"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the progress of llmguide learn; delete it to start again") from error
