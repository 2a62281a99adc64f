"""Seconds that the site takes to build: from nothing but the environment, unchanged, and after an edit.

Run ``python -m benchmarks.site``. It forgets what earlier builds remembered; it edits a page and restores it.
"""

import shutil
import subprocess
import time

from site_tools import CACHE, DOCS, ROOT
from site_tools.cells.parity import PASSED

PAGE = DOCS / "learn" / "attention.md"


def seconds() -> float:
    """Time one build."""
    start = time.perf_counter()
    subprocess.run(["make", "site"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def after_edit(old: str, new: str) -> float:
    """Time a build with one passage of the page replaced."""
    text = PAGE.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {PAGE}"
    try:
        PAGE.write_text(text.replace(old, new, 1), encoding="utf-8")
        return seconds()
    finally:
        PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    """Print one line a case."""
    for folder in (CACHE / "pages", CACHE / "tab", PASSED):
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{seconds():6.1f} s  full: every page run, every peer compared")
    print(f"{seconds():6.1f} s  nothing changed")
    print(f"{after_edit('After this chapter', 'Having read this'):6.1f} s  one sentence edited")
    print(f"{after_edit('import torch', 'import torch  # edited'):6.1f} s  one cell edited: its page runs")


if __name__ == "__main__":
    main()
