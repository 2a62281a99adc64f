"""The input and output of the judge: tests of three forms, and the verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["passed", "wrong_answer", "error", "timeout", "memory_limit", "output_limit"]


@dataclass(frozen=True)
class FunctionTests:
    """Calls of one function and the values that it must return.

    Values are plain data and are compared with ``==``, so 1 equals 1.0 and True, but a list never a tuple.
    Arguments are copies, so changes by the solution have no effect outside.

    Attributes:
        entry_point: Name of the function, or of a method of a class ``Solution`` that takes no arguments.
        cases: Pairs of arguments and expected value.
        tolerance: Largest error of a float, absolute or relative.

    >>> from llmguide import FunctionTests, judge
    >>> judge("def half(x): return x / 2", FunctionTests("half", [([3], 1.5)])).passed
    True
    """

    entry_point: str
    cases: Sequence[tuple[Sequence[object], object]]
    tolerance: float = 0.0


@dataclass(frozen=True)
class ProgramTests:
    """Standard inputs and the outputs that a whole program must write.

    Trailing white space of lines and empty lines at the end are ignored.

    Attributes:
        cases: Pairs of input and expected output.

    >>> from llmguide import ProgramTests, judge
    >>> judge("print(int(input()) + 1)", ProgramTests([("1", "2")])).passed
    True
    """

    cases: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class CheckTests:
    """A test in the style of HumanEval: source that defines ``check(candidate)``, full of assertions.

    A check can expect an exception of the solution. It sees the first class in the exception's
    ``__mro__`` that the source or the preamble mentions, or else an UnexpectedError, a plain Exception,
    with the same text: an IndexError that it does not mention cannot end a loop over ``__getitem__``.
    StopIteration and StopAsyncIteration are never passed on.

    Attributes:
        source: Source of the check; it runs in the sandbox, but its verdict is trusted.
        entry_point: Name of the function of the solution.
        preamble: Source that the check may use, such as the prompt of the problem with its helpers.

    >>> from llmguide import CheckTests, judge
    >>> tests = CheckTests("def check(candidate): assert candidate(2) == 4", "double")
    >>> judge("def double(x): return x + x", tests).passed
    True
    """

    source: str
    entry_point: str
    preamble: str = ""


Tests = FunctionTests | ProgramTests | CheckTests


@dataclass(frozen=True)
class Verdict:
    """Result of running a solution on tests.

    Attributes:
        status: ``passed``, or the first thing that went wrong.
        case: Index of the failing case, or of the failing call of a check, from 0; None if no case failed.
        input: Arguments or standard input of that case.
        expected: Expected value or output; for a check, the line that failed.
        got: Actual value or output.
        message: Explanation of the failure, in a sentence.
        stdout: End of the standard output of the solution.
        seconds: Time from the start of the tests to the verdict, in seconds.
        protections: Protections of the sandbox, each ``"on"`` or the reason why it was off.

    >>> from llmguide import Verdict
    >>> Verdict("wrong_answer", case=0, expected=4, got=3).passed
    False
    """

    status: Status
    case: int | None = None
    input: object = None
    expected: object = None
    got: object = None
    message: str = ""
    stdout: str = ""
    seconds: float = 0.0
    protections: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def passed(self) -> bool:
        """Return whether all tests passed."""
        return self.status == "passed"


def matches(got: object, expected: object, tolerance: float = 0.0) -> bool:
    """Compare plain data by ``==``, except that floats may differ by the tolerance and nan equals nan.

    >>> matches([0.1 + 0.2, float("nan")], [0.3, float("nan")], 1e-9), matches((1,), [1])
    (True, False)
    """
    if isinstance(expected, float) and isinstance(got, (int, float)):
        return got == expected or _close(got, expected, tolerance)
    if isinstance(expected, (list, tuple)):
        return (
            type(got) is type(expected)
            and len(got) == len(expected)
            and all(matches(a, b, tolerance) for a, b in zip(got, expected, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and got.keys() == expected.keys()
            and all(matches(got[key], value, tolerance) for key, value in expected.items())
        )
    return got == expected


def _close(got: float, expected: float, tolerance: float) -> bool:
    try:
        got = float(got)
    except OverflowError:  # an integer too large for a float
        return False
    if math.isnan(expected):
        return math.isnan(got)
    return tolerance > 0 and math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance)
