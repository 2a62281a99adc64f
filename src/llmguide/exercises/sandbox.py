"""Grade answers of other people: each runs in a sandbox of its own, and its results are compared outside.

A bare Python with an empty environment imports torch and the exercises once. For each answer it forks, and
the fork enters the sandbox of `llmguide.coding.sandbox.isolation` before it sees the answer. The fork calls
the answer and sends back as plain data what the exercise observes, first in the public tests, then in the
hidden ones. As in `llmguide.coding.sandbox.judging`, expected values and the comparison stay outside, so an
answer can change nothing in the grading.

Most of the time of a short answer goes into the fork, so all tests of an answer run in the same one. Answers
that never end would take most of the time of a class, so the time limit depends on the time that the
package's solution takes.

The sandbox cannot keep an answer from taking its results out of the package, whose solutions are public. Only
an answer that imports the package openly is refused.
"""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
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
from llmguide.exercises.definition import Exercise
from llmguide.exercises.grading import Grade, compare, exercise, observe
from llmguide.exercises.hidden_tests import with_hidden_tests

REQUIRED = ("limits", "capabilities", "landlock", "seccomp")
LEAST_S, MOST_S = 2, 10  # processor time that an answer may take in all its tests, in seconds
TIMES_SOLUTION = 20  # an answer may take LEAST_S plus this many times the time of the solution
CLOCK_S = 30  # seconds that all tests of an answer may take on the clock
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
                cwd="/",
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
        with self._fork(asked) as fork:
            result, functions = fork.run(asked, source, {}), {}
            if own and not result.passed and result.mistake != _STOPPED:
                with_own = fork.run(asked, source, own)
                if with_own.passed:
                    result, functions = with_own, own
            if seed is None or not result.passed:
                return result
            hidden = fork.run(with_hidden_tests(asked, seed), source, functions, seed)
        if hidden.passed:
            return result
        message = f"{name}: it passes the public tests, but fails a test with other inputs."
        why = hidden.message.removeprefix(f"{name}: not yet. ")
        return Grade(False, f"{message}\n{why}", "passes only the public tests")

    @contextlib.contextmanager
    def _fork(self, asked: Exercise) -> "Iterator[_Fork]":
        """Start a fork for one answer, and remove its folder at the end."""
        folder, limit_s = tempfile.mkdtemp(prefix="judge-"), limit_of(asked)
        mine, theirs = socket.socketpair()
        try:
            with mine:
                with theirs, self._lock:
                    request = f"{limit_s} {CLOCK_S} {folder}".encode()
                    socket.send_fds(self._control, [request], [theirs.fileno()])
                fork = _Fork(mine, limit_s)
                self._check_layers(fork)
                yield fork
                if self._process.poll() is not None:
                    self._fail()
        except ConnectionError:
            self._fail()
        finally:
            remove_tree(folder)

    def _check_layers(self, fork: "_Fork") -> None:
        try:
            layers = fork.receive(_START_S)["layers"]
        except StoppedError:  # no answer has run yet
            self._fail()
        if missing := {layer: layers[layer] for layer in REQUIRED if layers[layer] != "on"}:
            raise RuntimeError(f"this machine lacks required layers of the sandbox: {missing}")


@cache
def limit_of(asked: Exercise) -> int:
    """Measure the package's solution, and return the time limit of answers in seconds of processor time."""
    start = time.thread_time()
    observe(asked, asked.solution)
    return min(MOST_S, math.ceil(LEAST_S + TIMES_SOLUTION * (time.thread_time() - start)))


class _Fork:
    """The judge's end of the channel to the fork that runs an answer."""

    def __init__(self, end: socket.socket, limit_s: int) -> None:
        self._end = end
        self._limit_s = limit_s
        self._started = time.monotonic()

    def run(self, asked: Exercise, source: str, own: Mapping[str, str], seed: int | None = None) -> Grade:
        """Run the tests of an exercise; `seed` is that of its hidden tests, None for the public ones."""
        job = {"name": asked.name, "source": source, "own": dict(own), "seed": seed}
        self._end.settimeout(_START_S)
        with contextlib.suppress(ConnectionError):  # if the fork has ended, `receive` reports it
            self._end.sendall(json.dumps(job).encode() + b"\n")
        try:
            return graded(asked, self.receive(CLOCK_S + self._limit_s))
        except StoppedError as stop:
            return Grade(False, f"{asked.name}: {stop}", _STOPPED)

    def receive(self, seconds: float) -> dict[str, Any]:
        """Wait for one message; raises `StoppedError` if none comes."""
        end, received = time.monotonic() + seconds, bytearray()
        while b"\n" not in received:
            try:
                self._end.settimeout(max(end - time.monotonic(), 1e-3))
                chunk = self._end.recv(1 << 16)
            except (TimeoutError, ConnectionResetError):
                chunk = b""
            received += chunk
            if len(received) > MAX_MESSAGE:
                raise StoppedError("output_limit", f"the results take more than {MAX_MESSAGE:,} bytes.")
            if not chunk:
                raise self._ended()
        return read_message(received.partition(b"\n")[0])

    def _ended(self) -> StoppedError:
        if time.monotonic() - self._started < self._limit_s:
            return StoppedError("error", "the process ended before it sent its results.")
        message = f"it has not finished after {self._limit_s} seconds. Does a loop never end?"
        return StoppedError("timeout", message)


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
