"""Measure how much memory a process has used.

Leaves out: memory of a GPU, and of other processes of the same run.
"""

import sys
from importlib import import_module


def peak_memory() -> int | None:
    """Return the peak resident memory of this process in bytes; None on Windows, which does not report it.

    On Linux, it is at least the memory that the process that started this one held at that time.
    """
    if sys.platform == "win32":
        return None
    resource = import_module("resource")
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
