"""Classes: folders with exercises to hand out, the answers of the students, and their grades.

| in the folder of a class | |
| --- | --- |
| ``class.json`` | the exercises of the class, and a secret seed |
| ``handout/`` | what students get: ``index.html``, ``AGENTS.md``, a file to complete for each exercise |
| ``submissions/STUDENT.json`` | the answers of a student, as a certificate with the student's seed |
| ``report.csv`` | the grades |
"""

import csv
import io
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

from llmguide import __version__
from llmguide.coding.sandbox.replies import printable
from llmguide.exercises.course import AGENTS, agents, read_source, stub
from llmguide.exercises.definition import Exercise
from llmguide.exercises.grading import Grade, exercise
from llmguide.exercises.handout import page
from llmguide.exercises.ladder import EXERCISES as LADDER
from llmguide.exercises.sandbox import Sandbox
from llmguide.exercises.solutions import read_solutions, write_certificate
from llmguide.files import replacing, write_json, write_text

CLASS, HANDOUT, SUBMISSIONS, REPORT = "class.json", "handout", "submissions", "report.csv"
_FORMAT = "llmguide class"
_RIGHT, _MISSING, _WRONG = "right", "missing", "wrong"
_LARGEST = 100_000  # bytes of an answer
Grades = Mapping[str, Mapping[str, str]]  # by student and exercise


@dataclass(frozen=True)
class Class:
    """The exercises of a class, and the seed from which those of its students follow."""

    exercises: Sequence[Exercise]
    seed: int

    def seed_of(self, student: str) -> int:
        """Return the seed of a student's hidden tests."""
        return Random(f"{self.seed} {student}").getrandbits(32)


def chosen(names: Iterable[str]) -> list[Exercise]:
    """Return exercises by name, each once; ``ladder`` stands for all exercises of the ladder.

    Raises:
        ValueError: There is no such exercise, or no name is given.

    >>> chosen(["temperature", "temperature", "top-p"])
    [temperature: ..., top-p: ...]
    """
    found = [each for name in names for each in (LADDER if name == "ladder" else (exercise(name),))]
    if not found:
        raise ValueError("choose at least one exercise; llmguide learn --list shows all")
    return list({each.name: each for each in found}.values())


def write_class(folder: Path, asked: Sequence[Exercise]) -> None:
    """Write the folder of a new class, whole or not at all.

    Args:
        folder: Folder to write; it must not exist.
        asked: Exercises of the class.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as unfinished:
        (unfinished / HANDOUT).mkdir(parents=True)
        names = [each.name for each in asked]
        about = {"format": _FORMAT, "guide": __version__, "seed": secrets.randbits(32), "exercises": names}
        write_json(unfinished / CLASS, about)
        write_text(unfinished / HANDOUT / "index.html", page(asked))
        write_text(unfinished / HANDOUT / AGENTS, agents())
        for each in asked:
            write_text(unfinished / HANDOUT / f"{each.name}.py", stub(each))


def read_class(folder: Path) -> Class:
    """Return a class.

    Raises:
        ValueError: The folder contains no class, or one with an exercise that this version does not have.
    """
    path = folder / CLASS
    if not path.is_file():
        message = f"{folder} is not the folder of a class: there is no {path}"
        raise ValueError(f"{message}; create one with llmguide class new {folder} --exercises ...")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = [str(name) for name in content["exercises"]] if content["format"] == _FORMAT else None
        seed = int(content["seed"])
    except (ValueError, KeyError, TypeError):
        names = None
    if names is None:
        raise ValueError(f"{path} is not the file of a class; create the class again in a new folder")
    return Class(chosen(names), seed)


def collect(folder: Path, source: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Copy the answers of students to the folder of a class.

    Args:
        folder: Folder of the class.
        source: Folder that contains, for each student, a folder or a certificate or a file that the page
            *Progress* exported. Its name is the name of the student.

    Returns:
        For each student the exercises without an answer; and a message for each student whose files could not
        be read, of whom nothing is copied.

    Raises:
        ValueError: One of the folders is not what it should be.
    """
    found = read_class(folder)
    if not source.is_dir():
        raise ValueError(f"{source} is not a folder; give the folder with the files of the students")
    visible = [path for path in sorted(source.iterdir()) if not path.name.startswith(".")]
    loose = any((source / f"{each.name}.py").exists() for each in found.exercises)
    if loose and not any(path.is_dir() for path in visible):
        message = f"{source} contains the answers of one student"
        raise ValueError(f"{message}; give the folder that contains a folder for each student")
    handed_in = [path for path in visible if path.is_dir() or path.suffix == ".json"]
    if not handed_in:
        raise ValueError(f"{source} contains neither folders of students nor their JSON files")
    missing, problems = {}, []
    (folder / SUBMISSIONS).mkdir(exist_ok=True)
    for path in handed_in:
        student = path.name if path.is_dir() else path.stem
        if student in missing:
            problems.append(f"{path}: {student} has handed in a folder as well; remove one of them")
            continue
        try:
            answers = _answers(path, found.exercises)
        except (OSError, ValueError) as error:
            problems.append(str(error))
            continue
        write_certificate(folder / SUBMISSIONS / f"{student}.json", answers, found.seed_of(student))
        missing[student] = [each.name for each in found.exercises if each.name not in answers]
    return missing, problems


def _answers(path: Path, asked: Sequence[Exercise]) -> dict[str, str]:
    if not path.is_dir():
        return dict(read_solutions(path).sources)
    answers: dict[str, str] = {}
    for each in asked:
        match sorted(path.rglob(f"{each.name}.py")):
            case [file]:
                if file.is_symlink() or not file.is_file():
                    raise ValueError(f"{file} is not a plain file; replace it by a file with the answer")
                if file.stat().st_size > _LARGEST:
                    raise ValueError(
                        f"{file} has more than {_LARGEST:,} bytes; ask for one with only the answer"
                    )
                answers[each.name] = read_source(file)
            case [file, other, *_]:
                raise ValueError(f"{file} and {other} answer the same exercise; remove one of them")
    return answers


def report(folder: Path) -> Grades:
    """Grade the collected answers of a class in a sandbox, and write the table of the grades.

    A right answer passes the public tests of the exercise and hidden ones with the student's seed.

    Returns:
        For each student and exercise: right, the name of the mistake, wrong, or missing.

    Raises:
        RuntimeError: The sandbox could not be started.
        ValueError: The folder contains no class or no answers.
    """
    asked = read_class(folder).exercises
    files = sorted((folder / SUBMISSIONS).glob("*.json"))
    if not files:
        raise ValueError(f"{folder} has no answers; run llmguide class collect {folder} FOLDER first")
    submissions = {path.stem: read_solutions(path) for path in files}
    names = [each.name for each in asked]
    given = [(student, name) for student, own in submissions.items() for name in names if name in own.sources]
    n_threads = 2 * (os.cpu_count() or 1)  # while an answer sleeps, another one runs
    with Sandbox() as sandbox, ThreadPoolExecutor(n_threads) as pool:

        def grade(at: tuple[str, str]) -> Grade:
            student, name = at
            own = submissions[student]
            return sandbox.grade(name, own.sources[name], own.sources, own.seed)

        results = dict(zip(given, pool.map(grade, given), strict=True))
    grades = {
        student: {name: _cell(results.get((student, name))) for name in names} for student in submissions
    }
    write_text(folder / REPORT, as_csv(grades))
    return grades


def _cell(result: Grade | None) -> str:
    if result is None:
        return _MISSING
    return _RIGHT if result.passed else result.mistake or _WRONG


def as_csv(grades: Grades) -> str:
    """Return the grades as CSV, a row for each student.

    >>> print(as_csv({"ada": {"temperature": "right", "top-p": "missing"}}), end="")
    student,right,temperature,top-p
    ada,1,right,missing
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for student, row in grades.items():
        if not text.tell():
            writer.writerow(["student", _RIGHT, *row])
        safe = f"'{student}" if student[0] in "=+-@\t\r" else student  # spreadsheets would run a formula
        writer.writerow([safe, _n_right(row.values()), *row.values()])
    return text.getvalue()


def as_table(grades: Grades) -> str:
    """Return the grades for a terminal: marks for each student, then the mistakes in each exercise.

    >>> print(as_table({"ada": {"temperature": "right", "top-p": "keeps one less"}}))
         1 2  right
    ada  x -  1 of 2
    <BLANKLINE>
    x right, - wrong, . missing
    1 temperature  1 of 1 right
    2 top-p        0 of 1 right; keeps one less: 1
    """
    names = list(next(iter(grades.values())))
    shown = {student: printable(student) for student in grades}
    wide, digits, longest = max(map(len, shown.values())), len(str(len(names))), max(map(len, names))
    head = " ".join(f"{i:>{digits}}" for i in range(1, len(names) + 1))
    lines = [f"{'':{wide}}  {head}  right"]
    for student, row in grades.items():
        marks = " ".join(f"{_MARKS.get(cell, '-'):>{digits}}" for cell in row.values())
        lines.append(f"{shown[student]:{wide}}  {marks}  {_n_right(row.values())} of {len(row)}")
    lines += ["", "x right, - wrong, . missing"]
    for i, name in enumerate(names, start=1):
        cells = Counter(row[name] for row in grades.values())
        right = f"{i:>{digits}} {name:{longest}}  {cells.pop(_RIGHT, 0)} of {len(grades)} right"
        lines.append("; ".join([right, *(f"{cell}: {n}" for cell, n in cells.most_common())]))
    return "\n".join(lines)


_MARKS = {_RIGHT: "x", _MISSING: "."}


def _n_right(cells: Iterable[str]) -> int:
    return sum(cell == _RIGHT for cell in cells)
