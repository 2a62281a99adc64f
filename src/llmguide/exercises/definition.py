"""An exercise: its task, its solution, its typical mistakes, and the random inputs of its test calls."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.comparing import named, same

Arguments = tuple[Any, ...]


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


def _call(function: Callable[..., Any], arguments: Arguments) -> Any:
    return function(*arguments)


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
        needs: Names of the exercises whose functions the answer may call.
        level: Difficulty: warm-up, medium or hard.
        minutes: Typical time for a reader who knows the chapter.
        after: Text of what to remember, shown after success.
        observe: Function to the value that is compared: by default the result of a call with the arguments
            of a probe.
        accept: Whether what is observed is right, given what the solution shows.
        demo: Returns text made with the answers to this exercise and those it needs, by function name.
        demo_needs: Names of the exercises whose functions the demonstration calls besides.
    """

    name: str
    task: str
    solution: Callable[..., Any]
    probes: Callable[[], Sequence[Arguments]]
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]
    needs: tuple[str, ...] = ()
    level: str = ""
    minutes: int = 0
    after: str = ""
    observe: Callable[[Callable[..., Any], Arguments], Any] = _call
    accept: Callable[[Any, Any], bool] = same
    demo: Callable[[dict[str, Callable[..., Any]]], str] | None = None
    demo_needs: tuple[str, ...] = ()

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

    def inputs(self, arguments: Arguments) -> str:
        """Format the arguments of a test call for reading, such as ``logits = [0.5, 2.0], t = 3``."""
        names = re.findall(r"(\w+)[^,]*", self.signature.partition("(")[2])
        return named(names, arguments)


_SHIFT = ContextVar("shift", default=0)  # is added to the seeds of random inputs


@contextmanager
def shifted_seeds(shift: int) -> Iterator[None]:
    """Sample other random inputs in a block."""
    token = _SHIFT.set(shift)
    try:
        yield
    finally:
        _SHIFT.reset(token)


def generator(seed: int) -> torch.Generator:
    """Return a generator of random inputs that are the same on every machine."""
    return torch.Generator().manual_seed(seed + _SHIFT.get())


def noise(seed: int, *shape: int) -> Tensor:
    """Sample normal random numbers that are the same on every machine."""
    return torch.randn(*shape, generator=generator(seed))
