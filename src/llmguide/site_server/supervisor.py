"""End every process that a kernel's cells have started, including those that left its process group (Linux).

The kernel is forked from a supervisor, the subreaper of its descendants (``PR_SET_CHILD_SUBREAPER``). A
process whose parent ends becomes a child of the supervisor, whatever its session or process group. When the
kernel or the server ends, the supervisor kills its children until it has none.

A process of another user, such as one started by ``sudo``, cannot be killed and continues. Other systems have
no subreaper. On macOS the kernel's process group is killed, and a process that has left it continues; on
Windows only the kernel is killed.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
SUPERVISED = sys.platform == "linux"


def supervise(folder: Path) -> None:
    """Fork; return in the child, and end the parent after the child and all of its descendants have ended.

    Args:
        folder: Working directory of the kernel, which the parent removes at the end.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # sent when the server ends, even by a crash
    signals = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    kernel = os.fork()
    if kernel == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return
    while signal.sigwait(signals) != signal.SIGTERM and kernel not in _reap():
        pass
    _kill_children()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _reap() -> set[int]:
    """Reap children that have ended, and return their ids."""
    ended = set()
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            ended.add(pid)
    return ended


def _kill_children() -> None:
    """Kill the children, and then their orphans, which become children of this process."""
    others: set[int] = set()  # processes of other users
    while True:
        for pid in (children := _children() - others):
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:
                others.add(pid)
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            if others and not children:
                return
            time.sleep(0.001)


def _children() -> set[int]:
    children = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended in the meantime
            parent = status.read_text(errors="replace").rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                children.add(int(status.parent.name))
    return children


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")
