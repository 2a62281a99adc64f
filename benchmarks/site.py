"""Seconds that the site takes to build: from nothing but the environment, unchanged, and after an edit.

Run ``python -m benchmarks.site``. It forgets what earlier builds remembered, and edits a page and restores it.
"""

import shutil
import subprocess
import time

from tools import CACHE, DOCS, ROOT
from tools.parity import STAMP

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
    shutil.rmtree(CACHE / "pages", ignore_errors=True)
    STAMP.unlink(missing_ok=True)
    print(f"full, every page run and every peer compared  {seconds():6.1f} s")
    print(f"nothing changed                               {seconds():6.1f} s")
    print(
        f"one sentence edited                           {after_edit('After this chapter', 'Having read this'):6.1f} s"
    )
    print(
        f"one cell edited, its page run again           {after_edit('import torch', 'import torch  # edited'):6.1f} s"
    )


if __name__ == "__main__":
    main()
