"""A time limit for code that may never end.

After the limit a second thread raises an exception in the thread that runs the code. This works on every
operating system and in any thread, but only between two Python instructions: one long call into C is not
interrupted. Where there are no threads, as in the browser, there is no limit.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer, get_ident


class OutOfTime(BaseException):
    """Raised in code that has used up its time; no Exception, which the code itself might catch."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in a block that runs for longer.

    >>> try:
    ...     with time_limit(0.1):
    ...         while True:
    ...             pass
    ... except OutOfTime:
    ...     print("stopped")
    stopped
    """
    thread, running, lock = ctypes.c_ulong(get_ident()), True, Lock()

    def expire() -> None:
        with lock:
            if running:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OutOfTime))

    timer = Timer(seconds, expire)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no threads here
        yield
        return
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            running = False
        # If it came as the block ended, it is raised at the next jump. Taking it back with None would leave
        # the interpreter's flag set, on which CPython 3.11 hangs when a function is traced.
        for _ in range(2):
            pass
