"""The kernel of ``llmguide serve``: a process that runs the cells of one tab, with messages as JSON lines.

It runs the site's session.py, which also runs the cells in the browser, so both print the same. When its
input ends, the process ends and its folder is deleted; `llmguide.site_server.supervisor` describes which
processes started by cells end with it.
"""

import _thread
import codecs
import contextlib
import json
import os
import shutil
import signal
import sys
import tarfile
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from llmguide.site_server.supervisor import SUPERVISED, supervise

# of the site's archive; torch and llmguide are installed here
SHARED = ("session.py", "site_tools/", "docs/")
CAP = 64 * 1024  # characters that subprocesses of a run may print; session.py limits the output of Python
_MARK = b"\0the run is over\0"

Message = dict[str, Any]


def main(site: Path) -> None:
    """Answer messages until the input ends.

    Args:
        site: Folder of the built guide.
    """
    folder = Path.cwd()
    if SUPERVISED:
        supervise(folder)
    # Standard streams are redirected: input of cells and their subprocesses is empty, output is captured.
    requests = os.fdopen(os.dup(0), encoding="utf-8", errors="replace")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    kernel = _Kernel()
    kernel.start(kernel.write, replies)
    kernel.start(kernel.catch, _redirect())
    try:
        session = _session(site, folder / "guide", kernel.post)
    except Exception as error:
        kernel.send({"type": "failed", "text": f"The kernel could not start. {error}"})
        kernel.read(requests, folder)  # until the page disconnects
    signal.signal(signal.SIGINT, session.interrupt)
    kernel.send({"type": "ready"})
    kernel.start(kernel.read, requests, folder)
    kernel.answer(session.handle)


class _Kernel:
    """The threads of a kernel and the queues between them; an interrupt must not split a line of output."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Message] = SimpleQueue()
        self.outbox: SimpleQueue[str] = SimpleQueue()
        self.run: int | None = None  # the current run
        self.left = CAP
        self.drained = threading.Event()

    def start(self, target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, daemon=True).start()

    def answer(self, handle: Callable[[Message], None]) -> None:
        """Handle messages in the main thread, the only one that an interrupt reaches."""
        while True:
            message = self.inbox.get()
            if message.get("needs", "core") != "core":
                import_module("torch")  # before the run: an interrupted import leaves modules half loaded
            self.run, self.left = message.get("id"), CAP
            try:
                handle(message)
            except Exception as error:  # errors of the message; errors of its code are caught by the session
                self.refuse(message, error)
            self.run = None

    def refuse(self, message: object, error: Exception) -> None:
        """Reject a message that violates runtime/protocol.md."""
        reply = {
            "type": "error",
            "text": f"A message could not be understood: {type(error).__name__}: {error}",
            "interrupted": False,
        }
        number = message.get("id") if isinstance(message, dict) else None
        if isinstance(number, int):
            self.send({**reply, "id": number})
            self.send({"type": "done", "id": number, "seconds": 0})
        else:
            self.send(reply)

    def post(self, reply: Message) -> None:
        """Send a message of the session; a run is done after the output of its subprocesses has been sent."""
        if reply["type"] == "done":
            self.drained.clear()
            with contextlib.suppress(OSError):
                os.write(1, _MARK)
                self.drained.wait(1)  # a cell may have redirected the output
        self.send(reply)

    def send(self, message: Message) -> None:
        self.outbox.put(json.dumps(message, allow_nan=False))  # here: the cell gets the error

    def write(self, replies: TextIO) -> None:
        while True:
            replies.write(self.outbox.get() + "\n")
            replies.flush()

    def read(self, requests: TextIO, folder: Path) -> None:
        for line in requests:
            message = None
            try:
                message = json.loads(line)
                kind = message["type"]
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                self.refuse(message, error)
                continue
            if kind == "interrupt":
                _interrupt()
            else:
                self.inbox.put(message)
        _end(folder)

    def catch(self, pipe: int) -> None:
        """Send output that bypasses Python, such as that of subprocesses."""
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        pending = b""
        while chunk := os.read(pipe, 2**16):
            pending += chunk
            while pending:
                text, mark, rest = pending.partition(_MARK)
                if not mark and b"\0" in text[-len(_MARK) :]:
                    break  # possibly the first half of a marker
                self.show(decode(text, bool(mark)))
                if mark:
                    self.drained.set()
                pending = rest

    def show(self, text: str) -> None:
        shown = text[: self.left]
        self.left -= len(shown)
        if shown and self.run is not None:
            self.send({"type": "output", "id": self.run, "stream": "stdout", "text": shown})


def _redirect() -> int:
    """Redirect standard input to nothing and both outputs to a pipe; return its read end."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    source, target = os.pipe()
    for old, new in ((nothing, 0), (target, 1), (target, 2)):
        os.dup2(old, new)
    os.close(nothing)
    os.close(target)
    return source


def _session(site: Path, folder: Path, post: Callable[[Message], None]) -> Any:
    """Unpack the archive of the site, and start a session.

    Raises:
        ValueError: The site has no archive.
    """
    archives = list((site / "assets" / "vendor").glob("guide-*.t?z"))
    if not archives:
        raise ValueError(f"{site} has no assets/vendor/guide-*.tgz; rebuild it with make site.")
    with tarfile.open(archives[0]) as archive:
        members = [member for member in archive if member.name.startswith(SHARED)]
        archive.extractall(folder, members, filter="data")
    sys.path.insert(0, str(folder))
    return import_module("session").Session(post)


def _interrupt() -> None:
    if hasattr(signal, "pthread_kill"):  # a signal also interrupts a wait, which interrupt_main does not
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _end(folder: Path) -> None:
    """End this process and its process group; a supervisor ends all of its descendants."""
    shutil.rmtree(folder, ignore_errors=True)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
