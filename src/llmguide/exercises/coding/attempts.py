"""Exercises of several attempts at a program: a vote over results, and tests that decide."""

from collections import Counter
from collections.abc import Callable, Sequence
from operator import eq

from llmguide.exercises.definition import Arguments, Exercise, Mistake


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


Ask = Callable[[list[str]], str]


Passes = Callable[[str], bool]


def solve(ask: Ask, passes: Passes, budget: int) -> tuple[str | None, int]:
    """Ask until an answer passes, an answer repeats, or the budget is spent.

    Returns:
        The answer that passed, or None, and the number of calls of `ask`.

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
    """Return whether an answer has at least three letters."""
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
                "The winner must be a program. Majorities on different calls may be different programs.",
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
        "solve",
        "solve(ask, passes, budget): an agent's loop. ask(failed) returns an answer, given the list of those "
        "that failed, and passes(answer) tests it. Return (answer, n) for the first answer that passes, "
        "where n is the number of calls of ask. Return (None, n) as soon as `ask` returns an answer that has "
        "failed before, or when `budget` answers have failed.",
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
