"""Grade source code that calls the functions of the reader's earlier answers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llmguide.exercises.definition import Exercise
from llmguide.exercises.grading import Grade, compare, exercise, exercises, line_of, observe
from llmguide.exercises.time_limit import OutOfTime, time_limit

Functions = dict[str, Callable[..., Any]]
_SOURCE = "<your code>"
_SECONDS = 30  # time limit of loading an answer
_DEMO_SECONDS = 120


def needed(names: Iterable[str]) -> list[Exercise]:
    """Return exercises and those whose functions they can call, directly or indirectly, in order.

    >>> [found.name for found in needed(["multi-head"])]
    ['attention-head', 'multi-head']
    """
    found, left = set(), list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += exercise(name).needs
    return [each for each in exercises().values() if each.name in found]


def check(name: str, source: str, earlier: Mapping[str, str] | None = None) -> Grade:
    r"""Run source code in its own namespace, and grade the function that the exercise asks for.

    The code can call the functions of the exercises that this one needs. These come from the earlier answers,
    or from the package where there is no earlier answer.

    Args:
        name: Name of the exercise.
        source: Python source code that defines the function and everything else that it uses.
        earlier: Source code of earlier answers, by the name of the exercise.

    Returns:
        The result of `grade`. Code that cannot run fails, and the message states the reason; the mistake is
        named "does not run".

    Raises:
        ValueError: There is no such exercise.

    >>> check("temperature", "def temperature(logits, t):\n    return logits / t")
    temperature: right.
    >>> check("temperature", "def heat(logits, t):\n    return logits / t")
    temperature: the code defines no function temperature(logits, t).
    >>> check("temperature", "x = 1 / 0")
    temperature: the code raises ZeroDivisionError: division by zero (line 1)
    """
    asked, answers = exercise(name), earlier or {}
    own = {found.name: answers[found.name] for found in needed(asked.needs) if found.name in answers}
    result = _check(asked, source, own)
    if result.passed:
        lines = [result.message, asked.after, _demonstrated(asked, {**answers, name: source})]
        return Grade(True, "\n".join(filter(None, lines)))
    if not own or not _check(asked, source, {}).passed:
        return result
    broken = [need for need, text in own.items() if not _check(asked, source, {need: text}).passed]
    message = "right with the reference solutions, but not with your own earlier answers. Check again: "
    return Grade(False, f"{name}: {message}{', '.join(broken or own)}.", "earlier answer")


def _check(asked: Exercise, source: str, own: Mapping[str, str]) -> Grade:
    """Grade code that calls the given answers of the reader, and the solutions of other exercises."""
    results = observe_source(asked, source, own)
    return results if isinstance(results, Grade) else compare(asked, results)


def observe_source(asked: Exercise, source: str, own: Mapping[str, str]) -> list[Any] | Grade:
    """Run code as `check` does, and return what the exercise observes, or a failing grade."""
    functions = _functions(asked.needs, own)
    if isinstance(functions, str):
        return Grade(False, f"{asked.name}: {functions}", "earlier answer")
    function = _load(asked, source, functions, _SOURCE)
    if isinstance(function, str):
        return Grade(False, f"{asked.name}: {function}", "does not run")
    return observe(asked, function)


def _functions(names: Iterable[str], own: Mapping[str, str]) -> Functions | str:
    """Return the functions of exercises and of those that they need, or a message if an answer cannot run."""
    functions: Functions = {}
    for found in needed(names):
        functions[found.function] = found.solution
        if found.name in own:
            loaded = _load(found, own[found.name], functions, f"<{found.name}>")
            if isinstance(loaded, str):
                return f"in your earlier answer to {found.name}, {loaded}"
            functions[found.function] = loaded
    return functions


def _demonstrated(asked: Exercise, answers: Mapping[str, str]) -> str:
    """Return the text of the demonstration with the given answers, or why there is none."""
    if asked.demo is None:
        return ""
    functions = _functions((asked.name, *asked.demo_needs), answers)
    if isinstance(functions, str):
        return f"There is no demonstration: {functions}"
    try:
        with time_limit(_DEMO_SECONDS):
            return asked.demo(functions)
    except OutOfTime:
        return f"There is no demonstration: your functions have not finished after {_DEMO_SECONDS} seconds."
    except (Exception, SystemExit) as error:
        return f"There is no demonstration: your functions raise {type(error).__name__}: {error}"


def _load(asked: Exercise, source: str, functions: Functions, filename: str) -> Callable[..., Any] | str:
    """Run source code; return the function that an exercise asks for, or a message if there is none."""
    names: dict[str, Any] = {"__name__": "__main__"}
    names |= {found.function: functions[found.function] for found in needed(asked.needs)}
    try:
        with time_limit(_SECONDS):
            exec(compile(source, filename, "exec"), names)
    except SyntaxError as error:
        return f"{error.msg} (line {error.lineno})" if error.lineno else error.msg
    except OutOfTime:
        return f"the code has not finished after {_SECONDS} seconds. Is there an infinite loop?"
    except (Exception, SystemExit) as error:
        return f"the code raises {type(error).__name__}: {error}{line_of(error, filename)}"
    function = names.get(asked.function)
    return function if callable(function) else f"the code defines no function {asked.signature}."
