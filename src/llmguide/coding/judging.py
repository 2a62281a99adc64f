"""Decides whether a program that nobody has read is right, without trusting it.

The solution runs in a box of its own (`llmguide.coding.sandbox`): a bare Python with an empty environment,
a private folder, limits, and whatever the machine offers of namespaces, Landlock and seccomp. Expected
values stay outside. The solution is sent arguments and sends back plain data, which is compared here; so
there is nothing in its process to patch, and forging an answer is no easier than returning it. A
``check(candidate)`` in the style of HumanEval runs in a second box, where ``candidate`` is a wire to the
first.

```
judge ── arguments ──> box: solution            judge <── call ── box: check(candidate)
judge <── plain data ──                         judge ── answer ─>
```

What it does not protect from:

- a hole in the kernel or in Python. Put a virtual machine around code from people who attack you;
- layers that the machine lacks: `protections` tells which hold. Without ``namespaces`` and ``seccomp`` (any
  system but Linux, some containers) a solution can use the network, start processes that outlive it, and
  signal yours; without ``landlock`` it can read and write what your user can, the tests included. Name what
  you need in ``require``, and the judge refuses to run without it. Windows lacks what the judge itself needs;
- reading Python's own library, with the packages installed in it, and asking whether a file exists;
- time: it loads one core until its deadline, and what else runs on the machine changes what it measures;
- a solution that knows the tests by heart, because they were published.

References: the form of the check, Chen et al. 2021, arXiv:2107.03374, whose own evaluation runs it in the
process of the solution and says that this is no sandbox.
"""

import contextlib
import json
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

from llmguide.coding.judge_worker import MAX_MESSAGE, NotPlainError, decode, encode
from llmguide.coding.sandbox import LAYERS

MAX_OUTPUT = 1 << 20  # bytes of standard output and error together
TAIL = 2000  # characters of standard output that a verdict keeps
_START_S = 30.0  # to start a bare interpreter on a busy machine
_TRIED = LAYERS
_WORKER = Path(__file__).with_name("judge_worker.py")

Status = Literal["passed", "wrong_answer", "error", "timeout", "memory_limit", "output_limit"]


@dataclass(frozen=True)
class FunctionTests:
    """Calls of one function and the values that it must return.

    Values are plain data and are compared with ``==``, so 1 equals 1.0 and True, but a list never a tuple.
    Arguments are copies; what the solution does to them stays with it.

    Attributes:
        entry_point: Name of the function, or of a method of a class ``Solution`` that takes no arguments.
        cases: Pairs of arguments and expected value.
        tolerance: How far a float may be off, absolutely or as a share.
    """

    entry_point: str
    cases: Sequence[tuple[Sequence[object], object]]
    tolerance: float = 0.0


@dataclass(frozen=True)
class ProgramTests:
    """Standard inputs and the outputs that a whole program must write.

    Space at the ends of lines and empty lines at the end do not count.

    Attributes:
        cases: Pairs of input and expected output.
    """

    cases: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class CheckTests:
    """A test in the style of HumanEval: source that defines ``check(candidate)``, full of assertions.

    Attributes:
        source: Of the check; it is boxed, but trusted to judge.
        entry_point: Name of the function of the solution.
        preamble: Source that the check may use, such as the prompt of the problem with its helpers.
    """

    source: str
    entry_point: str
    preamble: str = ""


Tests = FunctionTests | ProgramTests | CheckTests


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    Attributes:
        status: ``passed``, or the first thing that went wrong.
        case: Number of the failing case, or of the failing call of a check, from 0; None if it was none.
        input: Arguments or standard input of that case.
        expected: What should have come out; for a check, the line that failed.
        got: What came out.
        message: What happened, in a sentence.
        stdout: End of what the solution printed.
        seconds: From the loaded box to the verdict.
        protections: Layers of the box, each ``"on"`` or why it was off.
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
        """Whether all tests passed."""
        return self.status == "passed"


class _StoppedError(Exception):
    """The run cannot go on; carries the verdict's status and message."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


def judge(
    solution: str,
    tests: Tests,
    *,
    timeout_s: float = 10.0,
    memory_mb: int = 256,
    require: Collection[str] = (),
) -> Verdict:
    """Run a solution against tests, in a box, until the first failure.

    Args:
        solution: Python source.
        tests: Function calls, whole programs or a ``check(candidate)``.
        timeout_s: Wall-clock seconds for all of the tests, without the start of the box.
        memory_mb: Address space of the box in MiB; Python itself takes about 20.
        require: Layers, of `llmguide.coding.sandbox.LAYERS`, without which the solution is not run.

    Returns:
        The verdict.

    Raises:
        RuntimeError: The box could not be started, or lacks a required layer.
        ValueError: A limit is not positive, or `require` names no layer.

    >>> tests = FunctionTests("double", [([2], 4), ([-1], -2)])
    >>> judge("def double(x): return x + x", tests).status
    'passed'
    >>> verdict = judge("def double(x): return x * x", tests)
    >>> verdict.status, verdict.case, verdict.input, verdict.expected, verdict.got
    ('wrong_answer', 1, [-1], -2, 1)
    >>> judge("import os; os._exit(0)", tests).message
    'the process ended (exit code 0) before it answered'
    """
    if not (timeout_s > 0 and memory_mb > 0):
        raise ValueError(f"timeout_s = {timeout_s} and memory_mb = {memory_mb} must be positive")
    if unknown := set(require) - set(LAYERS):
        raise ValueError(f"there is no layer {sorted(unknown)}; choose from {LAYERS}")
    limits = _Limits(timeout_s, memory_mb, tuple(require))
    if isinstance(tests, FunctionTests):
        return _judge_function(solution, tests, limits)
    if isinstance(tests, ProgramTests):
        return _judge_program(solution, tests, limits)
    return _judge_check(solution, tests, limits)


@dataclass(frozen=True)
class Output:
    """What one call gave: a value, or the error that ended it."""

    value: object = None
    error: str = ""


def outputs(
    solution: str, tests: FunctionTests, *, timeout_s: float = 10.0, memory_mb: int = 256
) -> list[Output]:
    """Run a solution on the arguments of tests and return what it gives, whatever was expected.

    Args:
        solution: Python source.
        tests: The calls; a call after one that ended the process or took too long is an error too.
        timeout_s: As for `judge`.
        memory_mb: As for `judge`.

    Returns:
        One output a case.

    >>> outputs("def f(x): return 6 // x", FunctionTests("f", [([2], None), ([0], None)]))
    [Output(value=3, error=''), Output(value=None, error='line 1: ZeroDivisionError: ...')]
    """
    found: list[Output] = []
    with _Box(_Limits(timeout_s, memory_mb)) as box:
        try:
            box.start("function", source=solution, entry_point=tests.entry_point)
            box.receive()
            for args, _ in tests.cases:
                reply = box.call({"args": encode(args), "kwargs": encode({})}, raising=False)
                error = str(_stopped(reply["error"])) if "error" in reply else ""
                found.append(Output(None if error else _value(reply), error))
        except _StoppedError as stop:
            found += [Output(error=str(stop))] * (len(tests.cases) - len(found))
    return found


@cache
def protections() -> dict[str, str]:
    """Tell which layers of the box hold on this machine, each ``"on"`` or the reason why it is off.

    >>> protections()["limits"]
    'on'
    """
    with _Box(_Limits(timeout_s=1.0, memory_mb=256)) as box:
        return box.layers


def matches(got: object, expected: object, tolerance: float = 0.0) -> bool:
    """Compare plain data: ``==``, except that floats may be off by the tolerance and nan equals nan.

    >>> matches([0.1 + 0.2, float("nan")], [0.3, float("nan")], 1e-9), matches((1,), [1])
    (True, False)
    """
    if isinstance(expected, float) and isinstance(got, (int, float)):
        if math.isnan(expected) or not tolerance:
            return got == expected or (math.isnan(expected) and math.isnan(got))
        return math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance)
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


def _judge_function(solution: str, tests: FunctionTests, limits: "_Limits") -> Verdict:
    case, args, expected = None, None, None
    with _Box(limits) as box:
        try:
            box.start("function", source=solution, entry_point=tests.entry_point)
            box.receive()
            for case, (args, expected) in enumerate(tests.cases):
                got = _value(box.call({"args": encode(args), "kwargs": encode({})}))
                if not matches(got, expected, tests.tolerance):
                    message = f"case {case} gave another value than expected"
                    return box.verdict(
                        "wrong_answer", message, case=case, given=args, expected=expected, got=got
                    )
        except _StoppedError as stop:
            return box.verdict(stop.status, str(stop), case=case, given=args, expected=expected)
        return box.verdict("passed")


def _judge_program(solution: str, tests: ProgramTests, limits: "_Limits") -> Verdict:
    seconds = 0.0
    verdict = Verdict("passed", protections=protections())
    for case, (stdin, expected) in enumerate(tests.cases):
        shown: dict[str, Any] = {"case": case, "given": stdin, "expected": expected}
        left = max(limits.timeout_s - seconds, 0.0)
        with _Box(replace(limits, timeout_s=left)) as box:  # a fresh one for each input
            try:
                box.start("program", stdin, source=solution)
                box.receive()
                box.read_rest()
            except _StoppedError as stop:
                verdict = box.verdict(stop.status, str(stop), **shown, got=box.stdout())
            else:
                verdict = box.verdict("passed")
                if _lines(box.stdout()) != _lines(expected):
                    message = f"case {case} printed another text than expected"
                    verdict = box.verdict("wrong_answer", message, **shown, got=box.stdout())
        seconds += verdict.seconds
        if not verdict.passed:
            break
    return replace(verdict, seconds=seconds)


def _judge_check(solution: str, tests: CheckTests, limits: "_Limits") -> Verdict:
    case, call, got = None, None, None
    failed: _StoppedError | None = None  # what the solution raised last
    with _Box(limits) as box, _Box(limits) as checker:
        try:
            box.start("function", source=solution, entry_point=tests.entry_point)
            box.receive()
            names = {"preamble": tests.preamble, "entry_point": tests.entry_point}
            checker.start("check", source=tests.source, **names)
            checker.deadline = box.deadline
            message = checker.receive(raising=False)
            while "args" in message:
                case, call = (0 if case is None else case + 1), message
                failed, got = None, None
                reply = box.call(call, raising=False)
                if "error" in reply:
                    failed = _stopped(reply["error"])
                else:
                    got = _value(reply)
                message = checker.call(reply, raising=False)
        except _StoppedError as stop:
            return box.verdict(stop.status, str(stop), case=case, given=_arguments(call))
        if "done" in message:
            return box.verdict("passed")
        error = message["error"]
        line = _line(tests.source, error["line"])
        shown: dict[str, Any] = {"case": case, "given": _arguments(call), "expected": line}
        if failed is not None:
            return box.verdict(failed.status, str(failed), **shown)
        if error["type"] == "NotPlainError" or (case is None and error["type"] != "AssertionError"):
            raise RuntimeError(f"the check itself is broken: {_stopped(error)}")
        return box.verdict("wrong_answer", f"the check fails: {line}", **shown, got=got)


def _arguments(call: dict[str, Any] | None) -> object:
    if call is None:
        return None
    args, kwargs = decode(call["args"]), decode(call["kwargs"])
    return (args, kwargs) if kwargs else args


def _value(reply: dict[str, Any]) -> object:
    """Read a value that the solution sent, or say why it is none."""
    try:
        return decode(reply["value"])
    except NotPlainError as error:
        raise _StoppedError("output_limit", str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _StoppedError("error", "the solution wrote into the judge's channel") from error


def _stopped(error: Any) -> _StoppedError:
    """Turn an error that a box reported, or that a solution made up, into a status and a sentence."""
    try:
        name, text, line = str(error["type"]), str(error["text"])[:500], error["line"]
    except (KeyError, TypeError):
        return _StoppedError("error", "the solution wrote into the judge's channel")
    where = f"line {line}: " if isinstance(line, int) else ""
    status: Status = "memory_limit" if name == "MemoryError" else "error"
    return _StoppedError(status, f"{where}{name}: {text}" if text else f"{where}{name}")


def _line(source: str, number: object) -> str:
    lines = source.splitlines()
    return lines[number - 1].strip() if isinstance(number, int) and 0 < number <= len(lines) else ""


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


@dataclass(frozen=True)
class _Limits:
    timeout_s: float
    memory_mb: int
    require: tuple[str, ...] = ()


class _Box:
    """A started box: the worker's process, the channel to it, and what it printed."""

    def __init__(self, limits: _Limits) -> None:
        self._limits = limits
        self._stack = contextlib.ExitStack()
        self._output = {"stdout": bytearray(), "stderr": bytearray()}
        self._incoming = bytearray()
        self.deadline = time.monotonic() + _START_S

    def __enter__(self) -> "_Box":
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        limits, enter = self._limits, self._stack.enter_context
        folder = enter(tempfile.TemporaryDirectory(prefix="judge-", ignore_cleanup_errors=True))
        self._stdin = os.open(f"{folder}/stdin", os.O_RDWR | os.O_CREAT, 0o600)
        self._stack.callback(os.close, self._stdin)
        Path(folder, "stdin").unlink()
        self._channel, theirs = socket.socketpair()
        enter(self._channel)
        settings = {
            "folder": folder,
            "memory_mb": limits.memory_mb,
            "cpu_s": math.ceil(limits.timeout_s) + 1,
            "layers": _TRIED,
        }
        with theirs:
            command = [
                sys.executable,
                "-I",
                "-S",
                "-B",
                str(_WORKER),
                str(theirs.fileno()),
                json.dumps(settings),
            ]
            self._process = subprocess.Popen(
                command,
                stdin=self._stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={},
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        self._stack.callback(self._kill)
        self._selector = enter(selectors.DefaultSelector())
        for name in ("stdout", "stderr"):
            file: IO[bytes] = getattr(self._process, name)
            self._selector.register(enter(file), selectors.EVENT_READ, name)
        self._selector.register(self._channel, selectors.EVENT_READ, "channel")
        try:
            self.layers: dict[str, str] = self.receive()["layers"]
        except _StoppedError as stop:
            errors = self._output["stderr"].decode(errors="replace")
            raise RuntimeError(f"the judge's box could not be started: {stop}\n{errors[-TAIL:]}") from stop
        if missing := {name: self.layers[name] for name in limits.require if self.layers[name] != "on"}:
            raise RuntimeError(f"this machine cannot give what was required: {missing}")

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def start(self, kind: str, stdin: str = "", **job: str) -> None:
        """Send the job, and let the time run."""
        os.write(self._stdin, stdin.encode(errors="replace"))
        os.lseek(self._stdin, 0, os.SEEK_SET)  # the position is shared with the box
        self.started = time.monotonic()
        self.deadline = self.started + self._limits.timeout_s
        self._send({"kind": kind, **job})

    def call(self, message: dict[str, Any], *, raising: bool = True) -> dict[str, Any]:
        """Send a message and wait for the answer."""
        self._send(message)
        return self.receive(raising=raising)

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.settimeout(max(self.deadline - time.monotonic(), 1e-3))
        with contextlib.suppress(OSError):  # a closed or unread channel shows when the answer is awaited
            self._channel.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, *, raising: bool = True) -> dict[str, Any]:
        """Wait for one message, while draining what the box prints.

        Raises:
            _StoppedError: The time is over, too much was printed, the process ended, or it reported an
                error and `raising` holds.
        """
        while b"\n" not in self._incoming:
            if not self._read("channel"):
                self._channel_closed()
            if len(self._incoming) > MAX_MESSAGE:
                raise _StoppedError("output_limit", f"an answer takes more than {MAX_MESSAGE:,} bytes")
        line, _, rest = self._incoming.partition(b"\n")
        self._incoming = rest
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise _StoppedError("error", "the solution wrote into the judge's channel")
        if raising and "error" in message:
            raise _stopped(message["error"])
        return message

    def read_rest(self) -> None:
        """Drain standard output until the process ends."""
        while self._read("stdout"):
            pass

    def _read(self, wanted: str) -> bool:
        """Read what is there; False when `wanted` has been closed."""
        ready = self._selector.select(max(self.deadline - time.monotonic(), 0.0))
        if not ready:
            if time.monotonic() >= self.deadline:
                raise _StoppedError("timeout", f"no answer within {self._limits.timeout_s:g} s")
            return True
        for key, _ in ready:
            try:
                chunk = os.read(key.fd, 1 << 16)
            except ConnectionResetError:
                chunk = b""
            if key.data == "channel":
                self._incoming += chunk
            else:
                self._output[key.data] += chunk
            if not chunk:
                self._selector.unregister(key.fileobj)
        if sum(map(len, self._output.values())) > MAX_OUTPUT:
            raise _StoppedError("output_limit", f"more than {MAX_OUTPUT:,} bytes were printed")
        return any(key.data == wanted for key in self._selector.get_map().values())

    def _channel_closed(self) -> NoReturn:
        try:
            code = self._process.wait(max(self.deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            raise _StoppedError("timeout", f"no answer within {self._limits.timeout_s:g} s") from None
        if code == 128 + signal.SIGXCPU:
            raise _StoppedError("timeout", "the processor time is used up")
        how = signal.Signals(code - 128).name if 128 < code < 160 else f"exit code {code}"
        raise _StoppedError("error", f"the process ended ({how}) before it answered")

    def stdout(self) -> str:
        """What was printed so far."""
        return self._output["stdout"].decode(errors="replace")

    def verdict(
        self,
        status: Status,
        message: str = "",
        *,
        case: int | None = None,
        given: object = None,
        expected: object = None,
        got: object = None,
    ) -> Verdict:
        """State a verdict with what the box printed and the time it took."""
        seconds = time.monotonic() - self.started
        tail = self.stdout()[-TAIL:]
        return Verdict(status, case, given, expected, got, message, tail, seconds, self.layers)
