"""Exercises as the instructor's notebook for Otter-Grader or nbgrader.

The notebook contains the package's solutions between the marks that these graders remove, and tests that call
`llmguide.exercises.grade`. It is written by hand, so that it needs neither program.

References:
- Otter Assign's raw cells, https://otter-grader.readthedocs.io/en/latest/otter_assign/notebook_format.html
- the metadata of nbgrader's cells: nbgrader/nbgraderformat/v3.json in its repository
- notebooks of format 4.5, https://nbformat.readthedocs.io/en/latest/format_description.html

Leaves out: a sandbox. These graders run the answers as they are configured to, such as in a container.
"""

import ast
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from llmguide.exercises.checking import needed
from llmguide.exercises.course import described
from llmguide.exercises.definition import Exercise
from llmguide.files import write_text

Cell = dict[str, Any]  # of a notebook, or its metadata or output
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
_OTTER_CONFIG = "# ASSIGNMENT CONFIG\nname: exercises\nexport_cell: false\nrequirements:\n  - llmguide"
_SETUP = "import torch\nimport torch.nn.functional as F\n\nfrom llmguide.exercises import exercise, grade"


def write_notebook(folder: Path, asked: Sequence[Exercise], grader: Literal["otter", "nbgrader"]) -> str:
    """Write a notebook to the folder of a class, and return what to do with it.

    Args:
        folder: Folder of the class.
        asked: Exercises of the class.
        grader: Program that the notebook is for.
    """
    if grader == "otter":
        path = folder / "otter" / "exercises.ipynb"
        cells, then = _otter(asked), f"otter assign {path} {path.parent / 'dist'}"
    else:
        path = folder / "source" / "exercises" / "exercises.ipynb"
        cells, then = _nbgrader(asked), f"in {folder}: nbgrader generate_assignment exercises"
    path.parent.mkdir(parents=True, exist_ok=True)
    numbered = [{**cell, "id": f"cell-{i}"} for i, cell in enumerate(cells)]
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": _KERNEL, "cells": numbered}
    write_text(path, json.dumps(notebook, indent=1) + "\n")
    return f"{path}: continue with {then}"


def _otter(asked: Sequence[Exercise]) -> Iterator[Cell]:
    yield _cell("raw", _OTTER_CONFIG)
    yield _cell("code", _SETUP)
    for each in asked:
        yield _cell("raw", f"# BEGIN QUESTION\nname: {_id(each)}\npoints: 1")
        yield _cell("markdown", _task(each))
        if needs := _needs(each):
            yield _cell("code", needs)
        yield _cell("raw", "# BEGIN SOLUTION")
        yield _cell("code", _solution(each, "#"))
        yield _cell("raw", "# END SOLUTION")
        yield _cell("raw", "# BEGIN TESTS")
        output = {"output_type": "stream", "name": "stdout", "text": f"{each.name}: right.\n"}
        yield _cell("code", f"print({_graded(each)})", outputs=[output])
        yield _cell("raw", "# END TESTS")
        yield _cell("raw", "# END QUESTION")


def _nbgrader(asked: Sequence[Exercise]) -> Iterator[Cell]:
    yield _cell("code", _SETUP, _metadata("setup", locked=True))
    for each in asked:
        name = _id(each)
        yield _cell("markdown", _task(each), _metadata(f"{name}_task", locked=True))
        if needs := _needs(each):
            yield _cell("code", needs, _metadata(f"{name}_needs", locked=True))
        yield _cell("code", _solution(each, "###"), _metadata(name, solution=True))
        test = f"result = {_graded(each)}\nassert result.passed, result.message"
        yield _cell("code", test, _metadata(f"{name}_test", locked=True, grade=True))


def _metadata(name: str, *, locked: bool = False, solution: bool = False, grade: bool = False) -> Cell:
    kinds = {"locked": locked, "solution": solution, "grade": grade, "task": False}
    points = {"points": 1} if grade else {}
    return {"nbgrader": {"schema_version": 3, "grade_id": name, **kinds, **points}}


def _cell(kind: str, source: str, metadata: Cell | None = None, outputs: Sequence[Cell] = ()) -> Cell:
    cell: Cell = {"cell_type": kind, "source": source, "metadata": metadata or {}}
    return {**cell, "execution_count": None, "outputs": [*outputs]} if kind == "code" else cell


def _id(asked: Exercise) -> str:
    return asked.name.replace("-", "_")


def _task(asked: Exercise) -> str:
    return f"## {described(asked)}"


def _needs(asked: Exercise) -> str:
    """Return code that defines the functions that an answer may call."""
    return "\n".join(f'{each.function} = exercise("{each.name}").solution' for each in needed(asked.needs))


def _solution(asked: Exercise, mark: str) -> str:
    parsed = ast.parse(f"def {asked.signature}: ...").body[0]
    assert isinstance(parsed, ast.FunctionDef)
    arguments = ", ".join(argument.arg for argument in parsed.args.args)
    return (
        f"def {asked.signature}:\n"
        f"    {mark} BEGIN SOLUTION\n"
        f'    return exercise("{asked.name}").solution({arguments})\n'
        f"    {mark} END SOLUTION"
    )


def _graded(asked: Exercise) -> str:
    return f'grade("{asked.name}", {asked.function})'
