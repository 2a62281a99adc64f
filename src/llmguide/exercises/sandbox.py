"""Grade answers of other people: each runs in a sandbox of its own, and its results are compared outside.

A bare Python with an empty environment imports torch and the exercises once. For each answer it forks, and
the fork enters the sandbox of `llmguide.coding.sandbox.isolation` before it sees the answer. The fork calls
the answer and sends back as plain data what the exercise observes. As in `llmguide.coding.judge`, expected
values and the comparison stay outside, so an answer can change nothing in the grading.

The sandbox cannot keep an answer from taking its results out of the package, whose solutions are public. Only
an answer that imports the package openly is refused.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from threading import Lock
from typing import IO, Any, NoReturn

from llmguide.coding.sandbox.process import remove_tree
from llmguide.coding.sandbox.replies import (
    FORGED,
    StoppedError,
    printable,
    read_error,
    read_message,
    read_value,
)
from llmguide.coding.sandbox.worker import MAX_MESSAGE
from llmguide.exercises._plain_data import unpack
from llmguide.exercises._sandboxed import import_paths
from llmguide.exercises.checking import needed
from llmguide.exercises.grading import Exercise, Grade, compare, exercise
from llmguide.exercises.hidden import with_hidden_tests

REQUIRED = ("limits", "capabilities", "landlock", "seccomp")
LIMIT_S = 10  # seconds of processor time that an answer may take; three times as many on the clock
_STOPPED = "stopped"  # the mistake of an answer that ended without results
_START_S = 300.0  # seconds to import torch on a busy machine
_PROGRAM = (
    "import json, sys; sys.path += json.loads(sys.argv[1])\n"
    "from llmguide.exercises._sandboxed import serve; serve(int(sys.argv[2]))"
)


class Sandbox:
    """A process that runs answers in forks of itself; several threads can use it at once.

    Raises:
        RuntimeError: The sandbox could not be started, or this machine lacks a layer of `REQUIRED`.
    """

    def __init__(self) -> None:
        self._lock = Lock()

    def __enter__(self) -> "Sandbox":
        if sys.platform != "linux":
            message = "answers of others run only in a sandbox of Linux; use Linux, a container or WSL 2"
            raise RuntimeError(f"{message}, not {sys.platform}")
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        with theirs:
            arguments = [json.dumps(import_paths()), str(theirs.fileno())]
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        self._control.settimeout(_START_S)
        try:
            if not self._control.recv(16):
                self._fail()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the forks end with their parent
        self._process.wait()
        self._errors.close()

    def _fail(self) -> NoReturn:
        self._errors.seek(0)
        raise RuntimeError(f"the sandbox has ended: {self._errors.read().decode(errors='replace')[-2000:]}")

    def grade(
        self, name: str, source: str, others: Mapping[str, str] | None = None, seed: int | None = None
    ) -> Grade:
        """Grade an answer; a right one works with the package's solutions or with the reader's own answers.

        Args:
            name: Name of the exercise.
            source: Python source of the answer.
            others: Source of the reader's answers to other exercises, by name.
            seed: Seed of hidden tests, which a right answer passes as well; None: only the public tests.

        Raises:
            RuntimeError: The sandbox has ended, or lacks a layer.
            ValueError: There is no such exercise.
        """
        asked = exercise(name)
        others = others or {}
        own = {need.name: others[need.name] for need in needed(asked.needs) if need.name in others}
        result, functions = self._run(asked, source, {}), {}
        if own and not result.passed and result.mistake != _STOPPED:
            with_own = self._run(asked, source, own)
            if with_own.passed:
                result, functions = with_own, own
        if seed is None or not result.passed:
            return result
        hidden = self._run(with_hidden_tests(asked, seed), source, functions, seed)
        if hidden.passed:
            return result
        message = f"{name}: it passes the public tests, but fails a test with other inputs."
        why = hidden.message.removeprefix(f"{name}: not yet. ")
        return Grade(False, f"{message}\n{why}", "passes only the public tests")

    def _run(self, asked: Exercise, source: str, own: Mapping[str, str], seed: int | None = None) -> Grade:
        folder = tempfile.mkdtemp(prefix="judge-")
        mine, theirs = socket.socketpair()
        try:
            with mine:
                with theirs, self._lock:
                    socket.send_fds(self._control, [f"{LIMIT_S} {folder}".encode()], [theirs.fileno()])
                wire = _Wire(mine)
                self._check_layers(wire)
                wire.send({"name": asked.name, "source": source, "own": dict(own), "seed": seed})
                return graded(asked, wire.receive(4 * LIMIT_S))
        except StoppedError as stop:
            if self._process.poll() is not None:
                self._fail()
            return Grade(False, f"{asked.name}: {stop}", _STOPPED)
        except ConnectionError:
            self._fail()
        finally:
            remove_tree(folder)

    def _check_layers(self, wire: "_Wire") -> None:
        try:
            layers = wire.receive(_START_S)["layers"]
        except StoppedError:  # no answer has run yet
            self._fail()
        if missing := {layer: layers[layer] for layer in REQUIRED if layers[layer] != "on"}:
            raise RuntimeError(f"this machine lacks required layers of the sandbox: {missing}")


class _Wire:
    """The judge's end of a channel."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: dict[str, object]) -> None:
        self._end.settimeout(_START_S)
        self._end.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float) -> dict[str, Any]:
        """Wait for one message; raises `StoppedError` if none comes."""
        started, received = time.monotonic(), bytearray()
        while b"\n" not in received:
            left = started + seconds - time.monotonic()
            try:
                self._end.settimeout(max(left, 1e-3))
                chunk = self._end.recv(1 << 16)
            except (TimeoutError, ConnectionResetError):
                chunk = b""
            received += chunk
            if len(received) > MAX_MESSAGE:
                raise StoppedError("output_limit", f"the results take more than {MAX_MESSAGE:,} bytes.")
            if not chunk and time.monotonic() - started >= LIMIT_S:
                message = f"it has not finished after {LIMIT_S} seconds. Does a loop never end?"
                raise StoppedError("timeout", message)
            if not chunk:
                raise StoppedError("error", "the process ended before it sent its results.")
        return read_message(received.partition(b"\n")[0])


def graded(asked: Exercise, reply: dict[str, Any]) -> Grade:
    """Grade a reply of a fork; nothing in it is trusted."""
    try:
        if "error" in reply:
            return Grade(False, f"{asked.name}: {read_error(reply['error'])}.", _STOPPED)
        match reply:
            case {"failure": [str(message), str(mistake)]}:
                return Grade(False, _shortened(message), printable(mistake[:100]))
        result = compare(asked, _observations(asked, reply))
    except StoppedError as stop:
        return Grade(False, f"{asked.name}: {stop}", _STOPPED)
    except Exception:  # a forged reply can raise anything, such as from the comparison of an exercise
        return Grade(False, f"{asked.name}: {FORGED}", _STOPPED)
    return Grade(result.passed, _shortened(result.message), result.mistake)


def _observations(asked: Exercise, reply: dict[str, Any]) -> list[Any]:
    results = unpack(read_value({"value": reply["results"]}))
    if not isinstance(results, list) or len(results) != len(asked.probes()):
        raise StoppedError("error", FORGED)
    return results


def _shortened(message: str) -> str:
    return "\n".join(map(printable, message[:2000].split("\n")))
