import re
import sys
from pathlib import Path

import pytest

from llmguide.runs.memory import peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="compares with what the kernel of Linux reports")
def test_the_peak_memory_is_in_bytes(monkeypatch):
    kibibytes = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
    peak = peak_memory()
    assert peak == pytest.approx(
        1024 * kibibytes, rel=0.5
    )  # the peak of the process that started this one counts
    monkeypatch.setattr("sys.platform", "darwin")  # which reports bytes, Linux kibibytes
    assert peak_memory() == pytest.approx(peak / 1024, rel=0.01)
    monkeypatch.setattr("sys.platform", "win32")
    assert peak_memory() is None
