"""Run the code of a page and compare what it prints with what the page says.

A page is plain Markdown. Its outputs are stored in its own source, so that it reads well anywhere and a
change of behavior shows up as a change of the page. This program executes each page and reports every stored
output or inline value that differs; ``--write`` stores the new ones. A page is run again only when its
code or what it imports changes (imports.py). Labs (labs.py) are executed and compared likewise.

Examples::

    python -m site_tools.cells.run_pages                                   compare every page
    python -m site_tools.cells.run_pages docs/learn/attention.md           compare one page
    python -m site_tools.cells.run_pages --write docs/learn/attention.md   rewrite its outputs
"""

import contextlib
import datetime
import difflib
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from llmguide.pages import facts, records
from site_tools import CACHE, DOCS, ROOT, page_paths, write
from site_tools.cells import labs
from site_tools.cells.imports import hash_of_imports, versions
from site_tools.command_line import page_parser
from site_tools.execution import PageError, located
from site_tools.fences import Fence, fences
from site_tools.slots import Slot, run, slots


def code_hash(text: str, page: str) -> str:
    """Hash of all that the code of a page can run (imports.py)."""
    if labs.is_lab(page):
        return hash_of_imports(labs.code(page), Path(labs.__file__))
    cells = [slot.cell.code for slot in slots(text, page) if slot.cell]
    return hash_of_imports("\n".join(cells))


def page_hash(text: str, page: str) -> str:
    """Hash of the code and outputs of a page, and of the records and facts it reads; its prose may change."""
    if labs.is_lab(page):
        return hashlib.sha256(labs.fingerprint(text, page).encode()).hexdigest()
    lines = text.split("\n")
    places: list[Fence | Slot] = [*fences(text), *slots(text, page)]
    computed = [line for place in places for line in lines[place.start : place.end]]
    code = "\n".join(computed)
    computed += [path.read_text(encoding="utf-8") for path in records.read_by(code)]
    computed += map(repr, facts.read_by(code))
    return hashlib.sha256("\n".join(computed).encode()).hexdigest()


def key_of(text: str, page: str) -> str:
    """What the outputs of a page depend on, and the outputs."""
    parts = [versions(), code_hash(text, page), page_hash(text, page)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def run_of(text: str) -> dict[str, Any] | None:
    """The record of the run that computed every output of this text, with the code as it is now."""
    page = "docs/page.md"  # only errors name it
    if not slots(text, page):
        return None
    wanted = {"code": code_hash(text, page), "page": page_hash(text, page)}
    runs = (json.loads(path.read_text()) for path in (CACHE / "pages").rglob("*.json"))
    return next((record for record in runs if wanted.items() <= record.items()), None)


def _commit() -> str:
    """The commit that is checked out, with a + if files differ from it; empty where there is no git."""
    command = ["git", "describe", "--always", "--exclude=*", "--abbrev=10", "--dirty=+"]
    with contextlib.suppress(OSError):
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def record_path(path: Path) -> Path:
    """Where the measurements of a page's last good run are kept."""
    return CACHE / "pages" / path.relative_to(DOCS).with_suffix(".json")


def is_current(path: Path, text: str) -> bool:
    """Whether the last good run of a page was of this code, with the package and programs as they are."""
    record = record_path(path)
    figures = re.findall(r"assets/figures/([\w/.-]+\.svg)", text)
    return (
        record.exists()
        and json.loads(record.read_text())["key"] == key_of(text, path.relative_to(ROOT).as_posix())
        and all((DOCS / "assets" / "figures" / figure).exists() for figure in figures)
    )


def check(path: Path, *, store: bool = False) -> str:
    """Run a page unless nothing has changed since its last good run; return the difference, empty if none.

    Args:
        path: A page under docs/, or the notebook of a lab.
        store: Store new outputs in the page instead of reporting them.
    """
    path = path.resolve()
    page = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8") if path.exists() else labs.EMPTY
    current = labs.refreshed(text, page) if labs.is_lab(page) else text
    if is_current(path, current):
        return _settle(path, text, current, store=store)
    result = labs.run(current, page) if labs.is_lab(page) else run(current, page)
    if difference := _settle(path, text, result.text, store=store):
        return difference
    write(
        record_path(path),
        json.dumps(
            {
                "key": key_of(result.text, page),
                "cells": len(result.cells),
                "seconds": round(result.seconds, 2),
                "cell_seconds": [round(seconds, 3) for seconds in result.cells],
                "peak_mb": result.peak_mb,
                "torch": importlib.metadata.version("torch").split("+")[0],
                "llmguide": importlib.metadata.version("llmguide"),
                "python": platform.python_version(),
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "commit": _commit(),
                "code": code_hash(result.text, page),
                "page": page_hash(result.text, page),
            }
        ),
    )
    return ""


def _settle(path: Path, stored: str, computed: str, *, store: bool) -> str:
    """Store what was computed, or return how it differs from what is stored."""
    page = path.relative_to(ROOT).as_posix()
    if stored == computed:
        return ""
    if not store:
        return "\n".join(_differences(page, stored.split("\n"), computed.split("\n")))
    write(path, computed)
    print(f"wrote {page}")
    return ""


def _differences(page: str, old: list[str], new: list[str]) -> Iterator[str]:
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            yield f"{page}:{i + 1}: stored (-) is not what is computed (+)"
            yield from (f"-{line}" for line in old[i:j])
            yield from (f"+{line}" for line in new[k:m])


def _difference(path: Path, *, store: bool) -> str:
    """As `check`, with an error of the page as its difference."""
    try:
        return check(path, store=store)
    except (PageError, ValueError) as error:
        return located(path.resolve().relative_to(ROOT).as_posix(), error)


def main() -> int:
    """Check or rewrite the pages named on the command line; 1 if any differs or fails."""
    parser = page_parser("site_tools.cells.run_pages", __doc__)
    parser.add_argument("--write", action="store_true", help="store new outputs in the pages")
    arguments = parser.parse_args()
    failed = 0
    named = [path.with_suffix(".ipynb") if path.suffix == ".py" else path for path in arguments.pages]
    pages = named or [*labs.paths(), *page_paths()]  # the slowest first
    # Spawned, because a forked process would inherit torch's threads, which do not survive a fork.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for difference in pool.map(partial(_difference, store=arguments.write), pages):
            if difference:
                print(difference, file=sys.stderr)
                failed += 1
    if failed:
        print(
            f"\n{failed} page(s) differ or fail; "
            "python -m site_tools.cells.run_pages --write PAGE stores output",
            file=sys.stderr,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
