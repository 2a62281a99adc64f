"""The in-browser sandbox: without processes, the solution runs in the judge's own Python.

The browser isolates that Python: it cannot reach the reader's files, processes or other hosts. Within it,
nothing isolates the judge from the solution, so use it only for code that you would run yourself, as on the
pages of the guide. What is not enforced there:

- the layers of `llmguide.coding.sandbox.isolation`, including the memory limit;
- the time limit, if a loop is outside the solution's own lines, or catches every exception: press Stop;
- that the solution cannot read the tests or change the judge.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from llmguide.coding.sandbox.isolation import LAYERS
from llmguide.coding.sandbox.process import Sandbox
from llmguide.coding.sandbox.replies import StoppedError
from llmguide.coding.sandbox.worker import (
    SOURCES,
    Channel,
    answer,
    load_function,
    run_check,
    run_program,
    to_line,
)

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class TabSandbox(Sandbox):
    """The interface of `Sandbox` in the browser: messages are answered immediately, in the same process."""

    def _open(self) -> None:
        self.layers = dict.fromkeys(LAYERS, "a tab has no processes")
        self._check_layers()
        self._wire = _Wire(self._incoming)
        self._function: Callable[..., object] | None = None

    def _give(self, stdin: str) -> None:
        self._text = stdin

    def check(self, answer: Answer, **job: str) -> dict[str, Any]:
        """Run a check, whose candidate is called directly."""
        self._wire.answer = answer
        self.start("check", **job)
        return self.receive(raising=False)

    def _send(self, message: dict[str, Any]) -> None:
        with self._inside():
            match message:
                case {"kind": "program"}:
                    run_program(self._wire, message)
                case {"kind": "check"}:
                    run_check(self._wire, message)
                case {"kind": "function"}:
                    self._function = load_function(self._wire, message)
                case _ if self._function:
                    answer(self._wire, self._function, message)
        if self._wire.stopped:
            raise self._wire.stopped
        self._check_time()
        self._check_output()

    def _read(self, wanted: str) -> bool:
        return False

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """Run the solution with the job's input, captured output and time limit."""
        environment, stdin, trace, leave = dict(os.environ), sys.stdin, sys.gettrace(), os._exit

        def leave_sandbox(status: int) -> NoReturn:
            message = f"the process ended (exit code {status}) before it answered"
            self._wire.stopped = StoppedError("error", message)
            raise self._wire.stopped

        def watch(frame: FrameType, _event: str, _argument: object) -> Any:
            self._check_time()
            if frame.f_code.co_filename not in SOURCES:
                return None
            frame.f_trace_opcodes = True  # `while True: pass` never reaches another line
            return watch

        os.environ.clear()
        os._exit = leave_sandbox
        sys.stdin = io.StringIO(self._text)
        out, err = (_Printed(kept, self._check_output) for kept in self._output.values())
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            sys.settrace(watch)
            try:
                yield
            finally:
                sys.settrace(trace)
                sys.stdin, os._exit = stdin, leave
                os.environ.clear()
                os.environ.update(environment)


class _Wire(Channel):
    """The worker's end of the channel; the other end is in the same process."""

    def __init__(self, incoming: bytearray) -> None:
        self._incoming = incoming
        self.answer: Answer
        self.stopped: StoppedError | None = None  # raised again if the solution or the check has caught it

    def send(self, message: dict[str, Any]) -> None:
        if message.get("error", {}).get("type") == "KeyboardInterrupt":
            raise KeyboardInterrupt  # the reader has pressed Stop, which the worker reports as an error
        self._incoming += to_line(message)

    def receive(self) -> dict[str, Any]:
        call = json.loads(self._incoming)
        self._incoming.clear()
        try:
            return self.answer(call)
        except StoppedError as stop:
            self.stopped = stop
            raise


class _Printed(io.TextIOBase):
    def __init__(self, kept: bytearray, check: Callable[[], None]) -> None:
        self._kept, self._check = kept, check

    def write(self, text: str) -> int:
        self._kept += text.encode(errors="replace")
        self._check()
        return len(text)
