"""Let Ctrl-C and SIGTERM end a training loop after the current step, so that a checkpoint is saved first."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from llmguide.training import distributed


class Interrupts:
    """The signal that asks a training loop to stop, if one has arrived.

    A loop calls `requested` after each step, saves, and calls `stop`.
    """

    def __init__(self) -> None:
        self._signal: int | None = None

    def receive(self, number: int, _: FrameType | None) -> None:
        """Note a signal; if it arrives a second time, stop at once."""
        if number == self._signal:
            self.stop()
        self._signal = self._signal or number

    def requested(self, device: torch.device) -> bool:
        """Return whether a process of the run has received a signal; all of them have to ask."""
        (n_asked,) = distributed.all_reduce_sum(float(self._signal is not None), device=device)
        return n_asked > 0

    def stop(self) -> None:
        """Raise the exception that ends the program.

        Raises:
            SystemExit: SIGTERM has arrived.
            KeyboardInterrupt: Ctrl-C was pressed, or another process received the signal.
        """
        if self._signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt


@contextmanager
def interrupts(*, deferred: bool) -> Iterator[Interrupts]:
    """Collect SIGINT and SIGTERM while a block runs.

    Args:
        deferred: Whether the signals wait until the block asks for them. They do not in a thread, which
            receives none, nor in the browser.
    """
    received = Interrupts()
    before = {}
    is_main = threading.current_thread() is threading.main_thread()
    if deferred and is_main and not hasattr(sys, "_emscripten_info"):
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # a program in the background may ignore Ctrl-C; None: set by code that is not Python
    before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, received.receive)
        yield received
    finally:
        for number, old in before.items():
            signal.signal(number, old)
