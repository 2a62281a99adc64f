"""Grade source code that calls the functions of the reader's earlier answers."""

from collections.abc import Callable, Mapping
from typing import Any

from llmguide.exercises.grading import Exercise, Grade, exercise, exercises, grade, line_of
from llmguide.exercises.time_limit import OutOfTime, time_limit

_SOURCE = "<your code>"


def needed(name: str) -> list[Exercise]:
    """Return the exercises whose functions an exercise can call, directly or indirectly, in order.

    >>> [found.name for found in needed("multi-head")]
    ['attention-head']
    """
    names, left = set(), list(exercise(name).needs)
    while left:
        found = left.pop()
        if found not in names:
            names.add(found)
            left += exercise(found).needs
    return [found for found in exercises().values() if found.name in names]


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
    answers = earlier or {}
    own = {found.name: answers[found.name] for found in needed(name) if found.name in answers}
    result = _check(name, source, own)
    if result.passed or not own or not _check(name, source, {}).passed:
        return result
    broken = [need for need, text in own.items() if not _check(name, source, {need: text}).passed]
    message = "right with the reference solutions, but not with your own earlier answers. Check again: "
    return Grade(False, f"{name}: {message}{', '.join(broken or own)}.", "earlier answer")


def _check(name: str, source: str, own: Mapping[str, str]) -> Grade:
    """Grade code that calls the given answers of the reader, and the solutions of other exercises."""
    functions: dict[str, Callable[..., Any]] = {}
    for found in needed(name):
        functions[found.function] = found.solution
        if found.name in own:
            loaded = _load(found, own[found.name], functions, f"<{found.name}>")
            if isinstance(loaded, str):
                return Grade(
                    False, f"{name}: in your earlier answer to {found.name}, {loaded}", "earlier answer"
                )
            functions[found.function] = loaded
    asked = exercise(name)
    function = _load(asked, source, functions, _SOURCE)
    if isinstance(function, str):
        return Grade(False, f"{name}: {function}", "does not run")
    result = grade(name, function)
    if not result.passed:
        return result
    written = asked.demo({**functions, asked.function: function}) if asked.demo else ""
    return Grade(True, "\n".join(filter(None, [result.message, asked.after, written])))


def _load(
    asked: Exercise, source: str, functions: Mapping[str, Callable[..., Any]], filename: str
) -> Callable[..., Any] | str:
    """Run source code; return the function that an exercise asks for, or a message if there is none."""
    names: dict[str, Any] = {"__name__": "__main__"}
    names |= {found.function: functions[found.function] for found in needed(asked.name)}
    try:
        with time_limit(30):
            exec(compile(source, filename, "exec"), names)
    except SyntaxError as error:
        return f"{error.msg} (line {error.lineno})" if error.lineno else error.msg
    except OutOfTime:
        return "the code has not finished after 30 seconds. Is there an infinite loop?"
    except (Exception, SystemExit) as error:
        return f"the code raises {type(error).__name__}: {error}{line_of(error, filename)}"
    function = names.get(asked.function)
    return function if callable(function) else f"the code defines no function {asked.signature}."
