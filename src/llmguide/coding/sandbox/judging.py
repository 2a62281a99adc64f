"""The judge: test an untrusted program in a sandbox.

The solution runs in a sandbox of its own (`llmguide.coding.sandbox.isolation`): a bare Python with an empty
environment, a private folder, limits, and those of namespaces, Landlock and seccomp that the machine has.
Expected values stay outside. The judge sends arguments, and the solution sends back plain data, which is
compared here. So there is nothing in its process to patch, and forging an answer is no easier than returning
it. A ``check(candidate)`` in the style of HumanEval runs in a second sandbox, where ``candidate`` calls the
first one. An exception of the solution is raised again there, but as a class that the check names or else as
an UnexpectedError, so it cannot silently end a loop of a check that does not expect it.

```
judge ── arguments ──> sandbox: solution        judge <── call ── sandbox: check(candidate)
judge <── plain data ──                         judge ── answer ─>
```

What it does not protect against:

- a vulnerability in the kernel or in Python. Run code from attackers in a virtual machine;
- layers that the machine lacks. `protections` returns which are on; name those you need in ``require``, and
  the judge refuses to run without them. All are layers of Linux, except ``limits``, some of which exist on
  other systems; the judge does not run on Windows, and the browser has none of the layers
  (`llmguide.coding.sandbox.browser`). Some containers have no ``namespaces``, and so no ``tmpfs``. Without

    - ``limits``, a solution can take all of the memory;
    - ``unprivileged``, if root runs the judge, the solution's user is root, who may read and write most files
      even without capabilities;
    - ``capabilities`` and ``seccomp``, if root runs the judge, it can do everything that root can;
    - ``seccomp``, it can start processes and use more of the kernel, and change the modes and times of your
      files, read their attributes, and write to any socket that has a path;
    - ``seccomp`` and ``namespaces``, it can also use the network, signal your processes, reach their shared
      memory, and outlive a judge, killed or not;
    - ``tmpfs``, it can fill the disk with many files until its time limit;
    - ``landlock``, it can read and write what its user can: the tests, and the memory of processes;

- reading the libraries of Python and of the system, with the installed packages (including the problems and
  answers of this package), and querying whether a file exists, its size, the target of a link, the name of
  the machine, or its memory;
- load: with threads it may use every core, for at most a second of processor time more than its time limit
  (of threads it has at most 32, or without ``namespaces`` as many as fit into its memory), and a hostile
  answer may cost the judge about a second of processor time to read, while the judge's other threads
  continue; other programs on the machine change its timings;
- a check that is easy to pass: ``zip(candidate(x), expected)`` stops at the shorter of the two, and
  ``except Exception: pass`` accepts every exception;
- a solution that has memorized published tests.

References: the form of the check, Chen et al. 2021, arXiv:2107.03374, whose own evaluation runs it in the
process of the solution and warns that this is not a sandbox.
"""

import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from llmguide.coding.sandbox.browser import TabSandbox
from llmguide.coding.sandbox.process import Limits, Sandbox
from llmguide.coding.sandbox.replies import StoppedError, read_error, read_value
from llmguide.coding.sandbox.verdicts import CheckTests, FunctionTests, ProgramTests, Tests, Verdict, matches
from llmguide.coding.sandbox.worker import NotPlainError, decode, encode


def judge(
    solution: str,
    tests: Tests,
    *,
    timeout_s: float = 10.0,
    memory_mb: int = 256,
    require: Collection[str] = (),
) -> Verdict:
    """Run a solution on tests in a sandbox, until the first failure.

    Args:
        solution: Python source of the solution.
        tests: Function calls, whole programs or a ``check(candidate)``.
        timeout_s: Wall-clock time limit for all tests, in seconds, without the start of the sandbox.
        memory_mb: Limit of the address space, in MiB; Python itself takes about 20.
        require: Layers of `llmguide.coding.sandbox.isolation.LAYERS` without which the solution is not run.

    Returns:
        The verdict.

    Raises:
        TypeError: The tests are none of these.
        RuntimeError: The sandbox could not be started, or lacks a required layer.
        ValueError: A limit is not positive, or `require` names an unknown layer.

    >>> from llmguide import FunctionTests, judge
    >>> tests = FunctionTests("double", [([2], 4), ([-1], -2)])
    >>> judge("def double(x): return x + x", tests).status
    'passed'
    >>> verdict = judge("def double(x): return x * x", tests)
    >>> verdict.status, verdict.case, verdict.input, verdict.expected, verdict.got
    ('wrong_answer', 1, [-1], -2, 1)
    >>> judge("import os; os._exit(0)", tests).message
    'the process ended (exit code 0) before it answered'
    """
    if not isinstance(tests, FunctionTests | ProgramTests | CheckTests):
        raise TypeError(f"tests is a {type(tests).__name__}; pass FunctionTests, ProgramTests or CheckTests")
    limits = Limits(timeout_s, memory_mb, require)
    if isinstance(tests, FunctionTests):
        return _judge_function(solution, tests, limits)
    if isinstance(tests, ProgramTests):
        return _judge_program(solution, tests, limits)
    return _judge_check(solution, tests, limits)


@dataclass(frozen=True)
class Output:
    """The output of one call: a value, or the error that ended it."""

    value: object = None
    error: str = ""


def outputs(
    solution: str,
    tests: FunctionTests,
    *,
    timeout_s: float = 10.0,
    memory_mb: int = 256,
    require: Collection[str] = (),
) -> list[Output]:
    """Run a solution on the arguments of tests, and return its outputs without comparing them.

    Args:
        solution: Python source of the solution.
        tests: Calls to run; after a call that ends the process or times out, the others are errors, too.
        timeout_s: Time limit for all calls, in seconds.
        memory_mb: Memory limit, in MiB.
        require: Protections without which the solution is not run, as for `judge`.

    Returns:
        One output for each case.

    Raises:
        TypeError: The tests are none of these.
        RuntimeError: The sandbox could not be started, or lacks a required layer.
        ValueError: A limit is not positive, or `require` names an unknown layer.

    >>> outputs("def f(x): return 6 // x", FunctionTests("f", [([2], None), ([0], None)]))
    [Output(value=3, error=''), Output(value=None, error='line 1: ZeroDivisionError: ...')]
    """
    found: list[Output] = []
    with _sandbox(Limits(timeout_s, memory_mb, require)) as sandbox:
        try:
            sandbox.start("function", source=solution, entry_point=tests.entry_point)
            sandbox.receive()
            for args, _ in tests.cases:
                reply = sandbox.call({"args": encode(args), "kwargs": encode({})}, raising=False)
                error = str(read_error(reply["error"])) if "error" in reply else ""
                found.append(Output(None if error else read_value(reply), error))
        except StoppedError as stop:
            found += [Output(error=str(stop))] * (len(tests.cases) - len(found))
    return found


@cache
def protections() -> dict[str, str]:
    """Return the state of each sandbox layer on this machine: ``"on"``, or the reason why it is off.

    >>> protections()["limits"]
    'on'
    """
    with _sandbox(Limits(timeout_s=1.0, memory_mb=256)) as sandbox:
        return sandbox.layers


def _sandbox(limits: Limits) -> Sandbox:
    return TabSandbox(limits) if hasattr(sys, "_emscripten_info") else Sandbox(limits)


def _judge_function(solution: str, tests: FunctionTests, limits: Limits) -> Verdict:
    case, args, expected = None, None, None
    with _sandbox(limits) as sandbox:
        try:
            sandbox.start("function", source=solution, entry_point=tests.entry_point)
            sandbox.receive()
            for case, (args, expected) in enumerate(tests.cases):
                got = read_value(sandbox.call({"args": encode(args), "kwargs": encode({})}))
                if not matches(got, expected, tests.tolerance):
                    message = f"case {case} gave another value than expected"
                    return sandbox.verdict(
                        "wrong_answer", message, case=case, given=args, expected=expected, got=got
                    )
        except StoppedError as stop:
            return sandbox.verdict(stop.status, str(stop), case=case, given=args, expected=expected)
        return sandbox.verdict("passed")


def _judge_program(solution: str, tests: ProgramTests, limits: Limits) -> Verdict:
    seconds = 0.0
    verdict = Verdict("passed", protections=protections())
    for case, (stdin, expected) in enumerate(tests.cases):
        shown: dict[str, Any] = {"case": case, "given": stdin, "expected": expected}
        left = max(limits.timeout_s - seconds, 1e-3)
        with _sandbox(replace(limits, timeout_s=left)) as sandbox:  # a new sandbox for each input
            try:
                sandbox.start("program", stdin, source=solution)
                sandbox.receive()
                sandbox.read_rest()
            except StoppedError as stop:
                verdict = sandbox.verdict(stop.status, str(stop), **shown, got=sandbox.stdout())
            else:
                verdict = sandbox.verdict("passed")
                if _lines(sandbox.stdout()) != _lines(expected):
                    message = f"case {case} printed another text than expected"
                    verdict = sandbox.verdict("wrong_answer", message, **shown, got=sandbox.stdout())
        seconds += verdict.seconds
        if not verdict.passed:
            break
    return replace(verdict, seconds=seconds)


def _judge_check(solution: str, tests: CheckTests, limits: Limits) -> Verdict:
    case, call, got = None, None, None
    failed: StoppedError | None = None  # the last exception of the solution
    with _sandbox(limits) as sandbox, _sandbox(limits) as checker:

        def candidate(message: dict[str, Any]) -> dict[str, Any]:
            nonlocal case, call, got, failed
            checker.deadline = sandbox.deadline
            case, call = (0 if case is None else case + 1), message
            failed, got = None, None
            reply = sandbox.call(call, raising=False)
            if "error" in reply:
                failed = read_error(reply["error"])
            else:
                got = read_value(reply)
            return reply

        try:
            sandbox.start("function", source=solution, entry_point=tests.entry_point)
            sandbox.receive()
            names = {"preamble": tests.preamble, "entry_point": tests.entry_point}
            message = checker.check(candidate, source=tests.source, **names)
        except StoppedError as stop:
            return sandbox.verdict(stop.status, str(stop), case=case, given=_arguments(call))
        if "done" in message:
            return sandbox.verdict("passed")
        error = message["error"]
        line = _line(tests.source, error["line"])
        shown: dict[str, Any] = {"case": case, "given": _arguments(call), "expected": line}
        if failed is not None:
            return sandbox.verdict(failed.status, str(failed), **shown)
        if error["type"] == "AssertionError":
            return sandbox.verdict("wrong_answer", f"the check fails: {line}", **shown, got=got)
        if case is None:
            raise RuntimeError(f"the check itself is broken: {read_error(error)}")
        # the check may have failed on an answer of a wrong type, or one too large to send back
        return sandbox.verdict("wrong_answer", f"the check fails: {read_error(error)}", **shown, got=got)


def _arguments(call: dict[str, Any] | None) -> object:
    if call is None:
        return None
    try:
        args, kwargs = decode(call["args"]), decode(call["kwargs"])
    except NotPlainError:  # the check built them from an answer that is slow to read
        return None
    return (args, kwargs) if kwargs else args


def _line(source: str, number: object) -> str:
    lines = source.splitlines()
    return lines[number - 1].strip() if isinstance(number, int) and 0 < number <= len(lines) else ""


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
