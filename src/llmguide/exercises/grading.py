"""Exercises, and their grading: compare a function with the solution and with typical mistakes."""

import copy
import importlib
import math
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

CHAPTERS = (
    "introduction",
    "concepts",
    "transformer",
    "attention",
    "pretraining",
    "data_and_scale",
    "post_training",
    "preferences_and_adapters",
    "interpretability",
    "families",
    "how_llms_write_code",
    "algorithms",
    "prompting",
)
Arguments = tuple[Any, ...]
_SOURCE = "<your code>"
_SMALL = 24  # most numbers of a tensor that is shown whole


@dataclass(frozen=True)
class Mistake:
    """A wrong version of an exercise.

    Attributes:
        name: Name of the mistake, in a few words.
        when: End of the sentence "Your result is what one gets when ...".
        hint: Hint at the part of the function to check.
        mutant: Function that computes the wrong result, with the arguments of the solution.
    """

    name: str
    when: str
    hint: str
    mutant: Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """An exercise: a function to write.

    Attributes:
        name: Name of the exercise, for `grade`.
        task: Task, which starts with the signature of the function.
        solution: Function of the package that solves it.
        probes: Function that returns the arguments of the test calls, deterministically.
        mistakes: Mistakes that are recognized.
        hints: Hints in increasing detail.
    """

    name: str
    task: str
    solution: Callable[..., Any]
    probes: Callable[[], Sequence[Arguments]]
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{self.name}: {self.task}"

    @property
    def signature(self) -> str:
        """Signature that the task starts with, such as ``rope(x, theta)``."""
        found = re.match(r"\w+\(.*?\)", self.task)
        if found is None:
            raise ValueError(f"the task of {self.name} must begin with a signature, such as rope(x, theta)")
        return found[0]

    @property
    def function(self) -> str:
        """Name of the function to write."""
        return self.signature.partition("(")[0]


@dataclass(frozen=True)
class Grade:
    """The result of grading; in a notebook it displays its message."""

    passed: bool
    message: str = field(repr=False)
    mistake: str = ""

    def __repr__(self) -> str:
        return self.message


@cache
def exercises() -> dict[str, Exercise]:
    """Return all exercises by name, in the order of the chapters.

    >>> list(exercises())[:4]
    ['follows', 'smooth', 'bits', 'times-more']
    """
    modules = [importlib.import_module(f"llmguide.exercises.{chapter}") for chapter in CHAPTERS]
    return {found.name: found for module in modules for found in module.EXERCISES}


def exercise(name: str) -> Exercise:
    """Return one exercise, with its ``hints`` and its ``solution``.

    Raises:
        ValueError: There is no exercise of that name.

    >>> exercise("temperature").hints[0]
    'Small temperatures make the largest logit win by more. What does that do to the differences?'
    """
    if name not in exercises():
        nearest = get_close_matches(name, list(exercises()), 1, cutoff=0)[0]
        raise ValueError(f"no exercise is named {name!r}; did you mean {nearest}?")
    return exercises()[name]


def grade(name: str, function: Callable[..., Any]) -> Grade:
    """Grade a function: compare it with the solution of an exercise, and name a known mistake.

    Args:
        name: Name of the exercise.
        function: Function to grade. It is called with copies of the arguments, by position.

    Returns:
        Whether it passed, a message, and the name of the mistake, empty if none was recognized.

    Raises:
        ValueError: There is no such exercise.

    >>> grade("temperature", lambda logits, t: logits / t)
    temperature: right.
    >>> found = grade("temperature", lambda logits, t: logits * t)
    >>> found.mistake
    'multiplied instead of divided'
    >>> print(found)
    temperature: not yet. Your result is what one gets when the logits are multiplied by the temperature.
    Hint: With t = 0.5 the difference between two logits must double.
    """
    return grade_exercise(exercise(name), function)


def grade_exercise(asked: Exercise, function: Callable[..., Any]) -> Grade:
    """Grade a function as `grade` does, for an exercise that is not in a chapter."""
    name, probes = asked.name, asked.probes()
    results = []
    for arguments in probes:
        given = copy.deepcopy(arguments)
        try:
            results.append(function(*given))
        except NotImplementedError:
            return Grade(False, f"{name}: not written yet.", "not written")
        except (Exception, SystemExit) as error:
            raised = f"{type(error).__name__}: {error}{_place(error, function)}"
            return Grade(False, f"{name}: it raises {raised}\nfor {shown(arguments)}")
        if not same(given, arguments):
            message = f"{name}: the function changes its arguments in place. Compute a new value instead."
            return Grade(False, message, "changes its arguments")
    expected = [asked.solution(*copy.deepcopy(arguments)) for arguments in probes]
    if same(results, expected):
        return Grade(True, f"{name}: right.")
    for mistake in asked.mistakes:
        if same(results, [mistake.mutant(*copy.deepcopy(arguments)) for arguments in probes]):
            message = f"Your result is what one gets when {mistake.when}.\nHint: {mistake.hint}"
            return Grade(False, f"{name}: not yet. {message}", mistake.name)
    return Grade(False, f"{name}: not yet. {difference(probes, results, expected)}")


def check(name: str, source: str) -> Grade:
    r"""Run source code in a namespace of its own, and grade the function that the exercise asks for.

    Args:
        name: Name of the exercise.
        source: Python source that defines the function, with everything it needs.

    Returns:
        The result of `grade`; code that cannot run fails, and the message says why.

    Raises:
        ValueError: There is no such exercise.

    >>> check("temperature", "def temperature(logits, t):\n    return logits / t")
    temperature: right.
    >>> check("temperature", "def heat(logits, t):\n    return logits / t")
    temperature: the code defines no function temperature(logits, t).
    >>> check("temperature", "x = 1 / 0")
    temperature: the code raises ZeroDivisionError: division by zero (line 1)
    """
    asked = exercise(name)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(compile(source, _SOURCE, "exec"), namespace)
    except SyntaxError as error:
        return Grade(False, f"{name}: {error.msg} (line {error.lineno})")
    except (Exception, SystemExit) as error:
        return Grade(False, f"{name}: the code raises {type(error).__name__}: {error}{_line(error, _SOURCE)}")
    if not callable(namespace.get(asked.function)):
        return Grade(False, f"{name}: the code defines no function {asked.signature}.")
    return grade(name, namespace[asked.function])


def _place(error: BaseException, function: Callable[..., Any]) -> str:
    """Return the line of the function's file that raised the error, if it has one."""
    code = getattr(function, "__code__", None)
    return _line(error, code.co_filename) if code else ""


def _line(error: BaseException, filename: str) -> str:
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename
    ]
    return f" (line {lines[-1]})" if lines else ""


def same(result: Any, expected: Any) -> bool:
    """Return whether two results agree: numbers up to rounding, everything else exactly.

    >>> same([1.0, (2,)], [1.0000001, (2,)]), same(torch.ones(2), torch.ones(1, 2)), same(None, 1.0)
    (True, False, False)
    """
    if isinstance(expected, list | tuple):
        return (
            isinstance(result, list | tuple)
            and len(result) == len(expected)
            and all(same(*pair) for pair in zip(result, expected, strict=True))
        )
    if isinstance(expected, Tensor):
        try:
            result = torch.as_tensor(result).detach().double()
        except (TypeError, ValueError, RuntimeError):
            return False
        return result.shape == expected.shape and torch.allclose(
            result, expected.detach().double(), rtol=1e-4, atol=1e-6, equal_nan=True
        )
    if isinstance(expected, float):
        try:
            return math.isclose(float(result), expected, rel_tol=1e-4, abs_tol=1e-6)
        except (TypeError, ValueError, RuntimeError):
            return False
    return type(result) is type(expected) and bool(result == expected)


def difference(probes: Sequence[Arguments], results: Sequence[Any], expected: Sequence[Any]) -> str:
    """Describe the first probe whose result is wrong."""
    rows = zip(probes, results, expected, strict=True)
    arguments, got, wanted = next(row for row in rows if not same(row[1], row[2]))
    if isinstance(wanted, Tensor) and isinstance(got, Tensor):
        if got.shape != wanted.shape:
            shapes = f"{tuple(got.shape)}, expected {tuple(wanted.shape)}"
            return f"The result has shape {shapes},\nfor {shown(arguments)}"
        if wanted.numel() > _SMALL:
            wrong = [at for at in product(*map(range, wanted.shape)) if not same(got[at], wanted[at])]
            numbers = f"got {shown((got[wrong[0]],))}, expected {shown((wanted[wrong[0]],))}"
            place = f"{len(wrong)} of {wanted.numel()} numbers are wrong. At {list(wrong[0])}: {numbers}"
            return f"No known mistake.\n{place},\nfor {shown(arguments)}"
    return f"No known mistake.\nGot {shown((got,))}\nexpected {shown((wanted,))}\nfor {shown(arguments)}"


def shown(arguments: Arguments) -> str:
    """Format arguments for reading: small tensors whole, large ones by their shape.

    >>> shown((torch.tensor([0.5, 2.0]), torch.zeros(9, 9), 3))
    '[0.5, 2.0], tensor of shape (9, 9), 3'
    """

    def one(value: Any) -> str:
        if isinstance(value, Tensor):
            if value.numel() > _SMALL:
                return f"tensor of shape {tuple(value.shape)}"
            return str(torch.round(value.double(), decimals=4).tolist())
        return getattr(value, "__name__", None) or repr(value)

    return ", ".join(map(one, arguments))


def noise(seed: int, *shape: int) -> Tensor:
    """Sample normal random numbers that are the same on every machine."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
