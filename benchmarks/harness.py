"""Compare two functions fairly: alternate them, report the median of the paired ratios and their range.

A ratio above 1 means that ours is faster. Pairs run A B A B ... in one process, so that a busy machine slows
both alike; the two halves of a pair are divided before the median is taken. Assert that both compute the same
thing before timing them.
"""

import gc
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """Seconds of each run of one comparison."""

    name: str
    ours: list[float]
    peer: list[float]
    target: float | None

    @property
    def ratios(self) -> list[float]:
        """How many times faster ours was, pair by pair, ascending."""
        return sorted(peer / ours for ours, peer in zip(self.ours, self.peer, strict=True))

    @property
    def met(self) -> bool:
        """Whether the median ratio reaches the target."""
        return self.target is None or statistics.median(self.ratios) >= self.target

    def __str__(self) -> str:
        ratios = self.ratios
        verdict = "" if self.target is None else f"{self.target:.2f} {'met' if self.met else 'MISSED'}"
        return (
            f"{self.name:<48} {statistics.median(self.ours):9.3f} {statistics.median(self.peer):9.3f} "
            f"{statistics.median(ratios):8.2f}  {ratios[0]:.2f}..{ratios[-1]:<8.2f} {verdict}"
        )


def print_header(*distributions: str) -> None:
    """Print the machine, its load, the versions compared, and the column names."""
    load = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
    versions = ", ".join(f"{name} {version(name)}" for name in distributions)
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, load {load}")
    print(f"{versions}\n")
    print(f"{'':<48} {'ours s':>9} {'peer s':>9} {'ratio':>8}  {'min..max':<14} target")


def compare(
    name: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    pairs: int = 7,
    target: float | None = None,
) -> Result:
    """Time two functions alternately after one run of each to warm up, and print the row of the table."""
    ours()
    peer()
    runs = [(_seconds(ours), _seconds(peer)) for _ in range(pairs)]
    result = Result(name, [a for a, _ in runs], [b for _, b in runs], target)
    print(result, flush=True)
    return result


def peak_bytes() -> int:
    """Peak resident bytes of this process; only on Linux.

    The kernel's own mark, because getrusage hands the peak of the parent down to a child.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kilobytes = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert kilobytes is not None, "the kernel does not say"
    return int(kilobytes[1]) * 1024


def _seconds(function: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
