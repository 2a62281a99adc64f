"""Exercises of the prompting chapter: code in answers, votes, turns, and a loop with a budget."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from operator import eq

from llmguide.evaluation.extraction import extract_code
from llmguide.exercises.grading import Arguments, Exercise, Mistake

Message = dict[str, str]

# ---- answers ---------------------------------------------------------------------------------------

_ANSWER = """\
The idea is a set:
```python
def f(x):
    return {x}
```
Simpler, without it:
```python
def f(x):
    return x
```
Call it so:
```
f(1)
```
That is all.
"""


def _blocks(answer: str) -> list[str]:
    return re.findall(r"^```[^\n]*\n(.*?)^```", answer, flags=re.DOTALL | re.MULTILINE)


# ---- votes -----------------------------------------------------------------------------------------


def vote(results: Sequence[Sequence[int | None]]) -> int | None:
    """Return the index of the first candidate of the largest group that agrees on every call.

    >>> vote([[1, 2], [3, 4], [3, 4]]), vote([[None, None]])
    (1, None)
    """
    groups: dict[tuple[int | None, ...], list[int]] = {}
    for number, outputs in enumerate(results):
        if any(output is not None for output in outputs):
            groups.setdefault(tuple(outputs), []).append(number)
    return max(groups.values(), key=len)[0] if groups else None  # max takes the first of equals


def _by_call(results: Sequence[Sequence[int | None]]) -> int | None:
    """Decide each call by itself and take the candidate that is most often with the majority."""
    winners = [Counter(outputs).most_common(1)[0][0] for outputs in zip(*results, strict=True)]
    points = [sum(map(eq, outputs, winners)) for outputs in results]
    return points.index(max(points)) if any(winner is not None for winner in winners) else None


def _largest_group(results: Sequence[Sequence[int | None]]) -> int | None:
    winner = vote(results)
    return None if winner is None else results.count(results[winner])


def _last_of_the_group(results: Sequence[Sequence[int | None]]) -> int | None:
    winner = vote(results)
    return winner and max(i for i, outputs in enumerate(results) if outputs == results[winner])


def _last_of_equals(results: Sequence[Sequence[int | None]]) -> int | None:
    kept = [outputs for outputs in results if any(output is not None for output in outputs)]
    if not kept:
        return None
    most = max(kept.count(outputs) for outputs in kept)
    return max(results.index(outputs) for outputs in kept if kept.count(outputs) == most)


# ---- turns -----------------------------------------------------------------------------------------


def refine(messages: Sequence[Message], answer: str, request: str) -> list[Message]:
    """Return the messages of the next turn: the earlier ones, the model's answer, and the new request.

    >>> [message["role"] for message in refine([{"role": "user", "content": "Hello"}], "Hi", "Go on")]
    ['user', 'assistant', 'user']
    """
    return [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": request}]


# ---- a loop with a budget --------------------------------------------------------------------------

Ask = Callable[[list[str]], str]
Passes = Callable[[str], bool]


def solve(ask: Ask, passes: Passes, budget: int) -> tuple[str | None, int]:
    """Ask until an answer passes, one comes again, or the budget is spent.

    Returns:
        The answer that passed or None, and how often was asked.

    >>> solve(slow_learner, three_or_more, 5)
    ('aaa', 3)
    """
    failed: list[str] = []
    while len(failed) < budget:
        answer = ask(failed)
        if passes(answer):
            return answer, len(failed) + 1
        if answer in failed:
            return None, len(failed) + 1
        failed.append(answer)
    return None, budget


def slow_learner(failed: list[str]) -> str:
    """Answer as a model whose answers grow with the failures."""
    return "a" * (len(failed) + 1)


def stubborn(failed: list[str]) -> str:
    """Answer as a model that repeats its second answer."""
    return "ab"[: len(failed) + 1][-1]


def three_or_more(answer: str) -> bool:
    """Judge an answer: it must have at least three letters."""
    return len(answer) >= 3


def _solve_probes() -> list[Arguments]:
    return [(slow_learner, three_or_more, budget) for budget in (5, 3, 2)] + [(stubborn, three_or_more, 9)]


def _patient(ask: Ask, passes: Passes, budget: int) -> tuple[str | None, int]:
    """Solve without stopping at repeated answers."""
    failed: list[str] = []
    for asked in range(1, budget + 1):
        if passes(answer := ask(failed)):
            return answer, asked
        failed.append(answer)
    return None, budget


def _forgetful(ask: Ask, passes: Passes, budget: int) -> tuple[str | None, int]:
    return solve(lambda failed: ask([]), passes, budget)


def _hopeful(ask: Ask, passes: Passes, budget: int) -> tuple[str | None, int]:
    answers: list[str] = []
    answer, asked = solve(lambda failed: answers.append(ask(failed)) or answers[-1], passes, budget)  # type: ignore[func-returns-value]
    return answer or answers[-1], asked


EXERCISES = (
    Exercise(
        "extract-code",
        "extract_code(answer, name): the last code block of an answer that defines the function `name`, "
        "without its fences, or None. Blocks begin and end with lines of three backticks.",
        extract_code,
        lambda: [(_ANSWER, "f"), (_ANSWER, "g"), ("I would use a loop.", "f")],
        (
            Mistake(
                "first block",
                "the first block that defines the function is taken",
                "Models correct themselves: the last one is the solution.",
                lambda answer, name: next((code for code in _blocks(answer) if f"def {name}(" in code), None),
            ),
            Mistake(
                "last block whatever it holds",
                "the last block is taken, even if it only calls the function",
                "Look for def and the name in each block.",
                lambda answer, name: _blocks(answer)[-1] if _blocks(answer) else None,
            ),
            Mistake(
                "all blocks",
                "all blocks are joined",
                "That would run the examples too, and a version that was withdrawn.",
                lambda answer, name: "".join(_blocks(answer)) if f"def {name}(" in answer else None,
            ),
            Mistake(
                "fences kept",
                "the lines of backticks are part of the code",
                "They are not Python.",
                lambda answer, name: (
                    None if (code := extract_code(answer, name)) is None else f"```python\n{code}```\n"
                ),
            ),
            Mistake(
                "final line break lost",
                "the line break at the end of the code is missing",
                "The last line of the block ends with a line break as well. Return the lines as they are.",
                lambda answer, name: (code := extract_code(answer, name)) and code.removesuffix("\n"),
            ),
        ),
        (
            "Find all blocks first, then choose among them.",
            "A regular expression with re.DOTALL finds the blocks.",
            "Keep those with a line that begins with def and the name, then take the last.",
        ),
        level="medium",
        minutes=10,
    ),
    Exercise(
        "vote",
        "vote(results): results[i] lists the results of candidate i on the same calls, None where a call "
        "failed. Return the index of the first candidate of the largest group that agrees on every call. Of "
        "equally large groups take the one that comes first. A candidate that fails on every call has no "
        "vote. Return None if no candidate has a vote.",
        vote,
        lambda: [
            ([[1, 2, 3], [1, 5, 9], [4, 5, 3], [4, 5, 6], [4, 5, 6]],),
            ([[7, 7], [1, 2], [1, 2]],),
            ([[1, 1], [2, 2]],),
            ([[None, None], [None, None], [3, None]],),
            ([[None]],),
        ],
        (
            Mistake(
                "failures have a vote",
                "candidates that fail on every call form a group",
                "Broken programs agree with each other, but give no result.",
                lambda results: results.index(max(results, key=results.count)),
            ),
            Mistake(
                "call by call",
                "each call is decided by itself",
                "The winner must be a program. A majority on each call may come from different ones.",
                _by_call,
            ),
            Mistake(
                "last of equal groups",
                "among equally large groups the one that comes last wins",
                "Take the first, so that the result does not depend on chance.",
                _last_of_equals,
            ),
            Mistake(
                "smallest group",
                "the smallest group wins",
                "Right programs agree, but wrong ones are wrong in different ways.",
                lambda results: (
                    None
                    if not (kept := [r for r in results if any(x is not None for x in r)])
                    else results.index(min(kept, key=kept.count))
                ),
            ),
            Mistake(
                "one failed call is enough",
                "a candidate that fails on one call has no vote",
                "Only candidates that fail on every call have none.",
                lambda results: (
                    None
                    if all(None in r for r in results)
                    else results.index(max((r for r in results if None not in r), key=results.count))
                ),
            ),
            Mistake(
                "size instead of index",
                "the number of votes is returned",
                "Return the index of the first candidate of the largest group.",
                _largest_group,
            ),
            Mistake(
                "last of the group",
                "the index of the last candidate of the largest group is returned",
                "Return the index of its first candidate.",
                _last_of_the_group,
            ),
        ),
        (
            "Which candidates agree with each other on all calls?",
            "Group the candidates by the tuple of their results, without those that fail on every call.",
            "max(groups.values(), key=len) takes the first of equals. What does it do without groups?",
        ),
        level="medium",
        minutes=15,
    ),
    Exercise(
        "refine",
        "refine(messages, answer, request): the messages of the next turn, from those of the last one, the "
        "model's answer and your new request. A message is a dict with 'role' (user or assistant) and "
        "'content'.",
        refine,
        lambda: [
            ([{"role": "user", "content": "Write f."}], "def f(): ...", "Shorter."),
            (
                [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}],
                "Hi.",
                "Go on.",
            ),
        ],
        (
            Mistake(
                "answer left out",
                "the model's answer is missing",
                "The model remembers nothing by itself: what it should change must be in the context.",
                lambda messages, answer, request: [*messages, {"role": "user", "content": request}],
            ),
            Mistake(
                "history left out",
                "the earlier messages are missing",
                "Without the first request the model does not know what was asked.",
                lambda messages, answer, request: refine([], answer, request),
            ),
            Mistake(
                "roles exchanged",
                "the answer is the user's and the request the assistant's",
                "The model's messages have the role assistant.",
                lambda messages, answer, request: [
                    *messages,
                    {"role": "user", "content": answer},
                    {"role": "assistant", "content": request},
                ],
            ),
            Mistake(
                "request before the answer",
                "the request comes before the answer that it is about",
                "Keep the order of the conversation.",
                lambda messages, answer, request: [
                    *messages,
                    {"role": "user", "content": request},
                    {"role": "assistant", "content": answer},
                ],
            ),
        ),
        (
            "What does the model have to read to know what to change?",
            "A new list: old messages, answer, request.",
            "The answer has the role assistant, the request the role user.",
        ),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "solve",
        "solve(ask, passes, budget): an agent's loop. ask(failed) returns an answer, given the list of those "
        "that failed, and passes(answer) tests it. Return (answer, n) for the first answer that passes, "
        "where n is the number of calls of ask. Return (None, n) as soon as an answer comes that has failed "
        "before, or when `budget` answers have failed.",
        solve,
        _solve_probes,
        (
            Mistake(
                "circles not noticed",
                "a repeated answer is not noticed",
                "A model that repeats itself will go on until the budget is spent.",
                _patient,
            ),
            Mistake(
                "one time too often",
                "the model is asked one time more than the budget allows",
                "Count before you ask.",
                lambda ask, passes, budget: solve(ask, passes, budget + 1),
            ),
            Mistake(
                "failures not passed on",
                "the model is not told what failed",
                "At temperature 0 the same question gives the same answer. Give it the list.",
                _forgetful,
            ),
            Mistake(
                "last answer whatever it is",
                "the last answer is returned although it failed",
                "What did not pass is not a solution. Return None.",
                _hopeful,
            ),
        ),
        (
            "Which three events end the loop?",
            "Keep the list of what failed; its length is the number of times that you asked.",
            "In each round: ask, return if the answer passes, return if it is in the list, append it.",
        ),
        level="medium",
        minutes=15,
    ),
)
