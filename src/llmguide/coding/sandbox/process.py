"""A running sandbox: the process of a solution, the channel to it, and its output.

`llmguide.coding.sandbox.isolation` isolates the process; `llmguide.coding.sandbox.worker` runs inside.
"""

import contextlib
import json
import math
import os
import platform
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from llmguide.coding.sandbox import seccomp
from llmguide.coding.sandbox.isolation import LAYERS
from llmguide.coding.sandbox.replies import StoppedError, read_error, read_message
from llmguide.coding.sandbox.verdicts import Status, Verdict
from llmguide.coding.sandbox.worker import MAX_MESSAGE

MAX_OUTPUT = 1 << 20  # bytes of standard output and error together
TAIL = 2000  # characters of standard output that a verdict keeps
_START_S = 30.0  # seconds to start a bare interpreter on a busy machine
_TRIED = LAYERS
_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Limits:
    """The limits of a sandbox, and the layers that it requires.

    Raises:
        ValueError: A limit is not positive, or `require` names an unknown layer.
    """

    timeout_s: float
    memory_mb: int
    require: Collection[str] = ()

    def __post_init__(self) -> None:
        if not (self.timeout_s > 0 and self.memory_mb > 0):
            raise ValueError(
                f"timeout_s = {self.timeout_s} and memory_mb = {self.memory_mb} must be positive"
            )
        if unknown := set(self.require) - set(LAYERS):
            raise ValueError(f"unknown layers {sorted(unknown)}; choose from {LAYERS}")


class Sandbox:
    """The worker's process; leaving the ``with`` block kills it and all its descendants.

    Attributes:
        layers: State of each layer: ``"on"``, or the reason why it is off.
        deadline: End of the time limit, on the clock of ``time.monotonic``.

    Raises:
        RuntimeError: The sandbox could not be started, or lacks a required layer.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stack = contextlib.ExitStack()
        self._output = {"stdout": bytearray(), "stderr": bytearray()}
        self._incoming = bytearray()
        self.deadline = time.monotonic() + _START_S

    def __enter__(self) -> "Sandbox":
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
        folder = tempfile.mkdtemp(prefix="judge-")
        self._stack.callback(remove_tree, folder)
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
            "system_calls": seccomp.program(platform.machine()).hex(),
        }
        with theirs:
            arguments = [str(_WORKER), str(theirs.fileno()), json.dumps(settings)]
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", *arguments],
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
        except StoppedError as stop:
            errors = self._output["stderr"].decode(errors="replace")
            raise RuntimeError(f"the sandbox could not be started: {stop}\n{errors[-TAIL:]}") from stop
        self._check_layers()

    def _check_layers(self) -> None:
        if missing := {name: self.layers[name] for name in self._limits.require if self.layers[name] != "on"}:
            raise RuntimeError(f"this machine lacks required layers of the sandbox: {missing}")

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def start(self, kind: str, stdin: str = "", **job: str) -> None:
        """Send the job, and start the time limit."""
        self._give(stdin)
        self.started = time.monotonic()
        self.deadline = self.started + self._limits.timeout_s
        self._send({"kind": kind, **job})

    def _give(self, stdin: str) -> None:
        os.write(self._stdin, stdin.encode(errors="replace"))
        os.lseek(self._stdin, 0, os.SEEK_SET)  # the file position is shared with the sandbox

    def check(self, answer: Callable[[dict[str, Any]], dict[str, Any]], **job: str) -> dict[str, Any]:
        """Run a check, forwarding its calls to `answer`, and return its last message."""
        self.start("check", **job)
        message = self.receive(raising=False)
        while "args" in message:
            message = self.call(answer(message), raising=False)
        return message

    def call(self, message: dict[str, Any], *, raising: bool = True) -> dict[str, Any]:
        """Send a message and wait for the answer."""
        self._send(message)
        return self.receive(raising=raising)

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.settimeout(max(self.deadline - time.monotonic(), 1e-3))
        with contextlib.suppress(OSError):  # a closed or full channel is reported when the answer is awaited
            self._channel.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, *, raising: bool = True) -> dict[str, Any]:
        """Wait for one message, while reading the output of the sandbox.

        Raises:
            StoppedError: The time limit or the output limit is reached, the process ended, or it reported an
                error and `raising` is true.
        """
        while b"\n" not in self._incoming:
            if not self._read("channel"):
                self._channel_closed()
        self._check_time()  # answers sent in advance arrive without waiting, and may be slow to parse
        line, _, rest = self._incoming.partition(b"\n")
        self._incoming[:] = rest
        message = read_message(line)
        if raising and "error" in message:
            raise read_error(message["error"])
        return message

    def read_rest(self) -> None:
        """Read standard output until the process ends."""
        while self._read("stdout"):
            pass

    def _read(self, wanted: str) -> bool:
        """Read available data; return False when `wanted` has been closed."""
        ready = self._selector.select(max(self.deadline - time.monotonic(), 0.0))
        self._check_time()
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
        if len(self._incoming) > MAX_MESSAGE:
            raise StoppedError("output_limit", f"an answer takes more than {MAX_MESSAGE:,} bytes")
        self._check_output()
        return any(key.data == wanted for key in self._selector.get_map().values())

    def _check_output(self) -> None:
        if sum(map(len, self._output.values())) > MAX_OUTPUT:
            raise StoppedError("output_limit", f"more than {MAX_OUTPUT:,} bytes were printed")

    def _check_time(self) -> None:
        if time.monotonic() >= self.deadline:
            raise StoppedError("timeout", f"no answer within {self._limits.timeout_s:g} s")

    def _channel_closed(self) -> NoReturn:
        try:
            code = self._process.wait(max(self.deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            raise StoppedError("timeout", f"no answer within {self._limits.timeout_s:g} s") from None
        if code == 128 + signal.SIGXCPU:
            raise StoppedError("timeout", "the processor time limit was reached")
        how = signal.Signals(code - 128).name if 128 < code < 160 else f"exit code {code}"
        raise StoppedError("error", f"the process ended ({how}) before it answered")

    def stdout(self) -> str:
        """The standard output so far."""
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
        """Make a verdict with the output of the sandbox and the time it took."""
        seconds = time.monotonic() - self.started
        tail = self.stdout()[-TAIL:]
        return Verdict(status, case, given, expected, got, message, tail, seconds, self.layers)


def remove_tree(folder: str) -> None:
    """Remove a folder tree that may exceed the recursion limit and the longest path.

    Args:
        folder: Folder to remove; its subfolders are moved up into it before they are emptied, so paths stay
            short.
    """
    folders = [Path(folder)]
    with contextlib.suppress(OSError):
        for path in folders:
            for entry in list(path.iterdir()):
                if entry.is_symlink() or not entry.is_dir():
                    entry.unlink()
                else:
                    entry.chmod(0o700)
                    folders.append(entry.rename(Path(folder, uuid.uuid4().hex)))
        for path in reversed(folders):
            path.rmdir()
