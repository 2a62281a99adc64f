"""Self-consistency for programs: sample several solutions, and choose one from the largest group that agrees.

References: self-consistency, Wang et al. 2022, arXiv:2203.11171; voting by the outputs of programs, as in
AlphaCode, Li et al. 2022, arXiv:2203.07814.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from llmguide.coding.sandbox.judging import Output, outputs
from llmguide.coding.sandbox.verdicts import FunctionTests, matches


@dataclass(frozen=True)
class Vote:
    """Candidates grouped by what they compute.

    Attributes:
        winner: Index of the first candidate of the largest group; None if no candidate ran.
        groups: Indices of the candidates that agree on every call, largest group first.
    """

    winner: int | None
    groups: tuple[tuple[int, ...], ...]


def vote(
    candidates: Sequence[str | None],
    tests: FunctionTests,
    *,
    timeout_s: float = 5.0,
    require: Collection[str] = (),
) -> Vote:
    """Choose among solutions by majority vote over their outputs, without knowing the expected ones.

    Correct programs agree, wrong ones tend to differ. The vote fails if many make the same mistake.

    Args:
        candidates: Python source of each solution; None, for a completion without code, does not take part.
        tests: Calls to compare; their expected values are not used.
        timeout_s: Time limit for each candidate, in seconds.
        require: Protections of the sandbox without which no candidate is run, as for
            `llmguide.coding.sandbox.judging.judge`.

    Returns:
        The groups. A failed call counts as an output, but a candidate whose calls all fail does not take
        part.

    Raises:
        RuntimeError: This machine lacks a required protection.

    >>> calls = FunctionTests("f", [([2], None), ([3], None)])
    >>> vote(["def f(x): return x * x", "def f(x): return x + x", "f = lambda x: x ** 2"], calls)
    Vote(winner=0, groups=((0, 2), (1,)))
    """
    groups: list[tuple[list[Output], list[int]]] = []
    for number, candidate in enumerate(candidates):
        if candidate is None:
            continue
        found = outputs(candidate, tests, timeout_s=timeout_s, require=require)
        if all(output.error for output in found):
            continue
        for others, members in groups:
            if all(map(_agree, found, others)):
                members.append(number)
                break
        else:
            groups.append((found, [number]))
    ordered = sorted((tuple(members) for _, members in groups), key=len, reverse=True)
    return Vote(ordered[0][0] if ordered else None, tuple(ordered))


def _agree(a: Output, b: Output) -> bool:
    return bool(a.error) == bool(b.error) and matches(a.value, b.value)
