"""Run every page as the reader's tab would, and note what each cell needs, whether it agrees, and its time.

In the tab, ``import torch`` finds the subset of runtime/, and there are no other libraries, no processes
and no network. A process of its own plays the tab: the subset stands first on its path, and what the tab
lacks is refused. What it cannot show: in the tab, numpy's own integers have 32 bits, and all takes three
times as long.

The result of a page is ``.cache/tab/<page>.json``, with one entry for each run, table or figure fence, in
page order:

- ``line`` of its first code line, from 1;
- ``needs``: ``core`` (Python alone), ``torch`` (also numpy and the subset), ``figure`` (also matplotlib), or
  ``local`` (more than the tab has), and then the ``reason``;
- ``seconds_tab`` of processor time with the subset, and ``seconds`` with PyTorch, both in CPython; null where
  unknown;
- ``difference`` from the stored output, or the error; empty where they agree.

The tab runs the cells above the one that a reader pressed, and draws none of their figures. So does this:
each figure is drawn and compared in a copy of the process, and the process itself goes on with a stand-in.

A page is run again only when its code or outputs, what they import (imports.py), the subset or an installed
version changes.

Examples::

    python -m site_tools.cells.check_in_tab                           measure every page
    python -m site_tools.cells.check_in_tab docs/learn/attention.md   measure one page, and show what differs
"""

import argparse
import difflib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from site_tools import CACHE, DOCS, ROOT, RUNTIME, page_figures, page_paths, write
from site_tools.agreement import agree
from site_tools.cells import tab_process
from site_tools.cells.imports import hash_of_imports, versions
from site_tools.cells.run_pages import page_hash, record_path
from site_tools.command_line import page_parser
from site_tools.execution import PageError, execute, helpers, located, page_module
from site_tools.fences import Fence
from site_tools.slots import Slot, slots

PROGRAMS = (Path(__file__), Path(tab_process.__file__))
fork = os.fork  # before the tab, which has none, is played


# ---- the parent: one process for each page ----------------------------------------------------------------


def result_path(path: Path) -> Path:
    """Where the measurements of a page are kept."""
    return CACHE / "tab" / path.relative_to(DOCS).with_suffix(".json")


def measure(path: Path) -> list[dict[str, Any]]:
    """Measure the cells of a page under docs/, unless nothing has changed since it was last measured."""
    kept, key = result_path(path), key_of(path)
    lines = [cell.first_code_line for cell in _cells(path)]
    if kept.exists() and (known := json.loads(kept.read_text()))["key"] == key:
        # Prose above a cell may have changed, and moved it.
        return [cell | {"line": line} for cell, line in zip(known["cells"], lines, strict=True)]
    measured = _measure(path) if lines else []
    write(kept, json.dumps({"key": key, "cells": measured}, indent=1))
    return measured


def key_of(path: Path) -> str:
    """The hash of what the measurements of a page depend on."""
    code = "\n".join(cell.code for cell in _cells(path))
    programs = hash_of_imports(code, *RUNTIME.rglob("*.py"), *PROGRAMS)
    page = page_hash(path.read_text(encoding="utf-8"), _name(path))
    return hashlib.sha256("\n".join([versions(), programs, page]).encode()).hexdigest()


def _cells(path: Path) -> list[Fence]:
    return [slot.cell for slot in slots(path.read_text(encoding="utf-8"), _name(path)) if slot.cell]


def _measure(path: Path) -> list[dict[str, Any]]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (RUNTIME, ROOT / "src", ROOT))),
        "OMP_NUM_THREADS": "1",
        "LLMGUIDE_DATA": "",  # neither copies of corpora nor earlier downloads
        "LLMGUIDE_MODELS": str(CACHE / "models"),
        "XDG_CACHE_HOME": str(CACHE / "empty"),
        "MPLCONFIGDIR": str(CACHE / "matplotlib"),
    }
    if "smollm2-135m-instruct" in path.read_text(encoding="utf-8"):
        from site_tools.tab.language_model import model_files  # noqa: PLC0415  # torch, which the tab must not have yet

        model_files()
    command = [sys.executable, "-m", "site_tools.cells.check_in_tab", "--in-tab", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PageError(f"{_name(path)}: the process that plays the tab ended with\n{done.stderr}")
    cells: list[dict[str, Any]] = json.loads(done.stdout)
    record = record_path(path)
    seconds = json.loads(record.read_text()).get("cell_seconds", []) if record.exists() else []
    if len(seconds) != len(cells):  # the page has changed since its last run
        seconds = [None] * len(cells)
    return [cell | {"seconds": taken} for cell, taken in zip(cells, seconds, strict=True)]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- the child: plays the tab --------------------------------------------------------------------------


def run_in_tab(path: Path) -> list[dict[str, Any]]:
    """Run the cells of a page in this process, which should be a fresh one, as the tab would."""
    text, page = path.read_text(encoding="utf-8"), _name(path)
    lines = text.split("\n")
    tab_process.become_tab()
    cells = []
    with page_module(page, text) as namespace, tempfile.TemporaryDirectory() as drawn:
        page_figures.DOCS = Path(drawn)  # those of the page itself are PyTorch's
        for slot in slots(text, page):
            if slot.cell is None:
                continue
            is_local, is_figure = "local" in slot.cell.classes, "figure" in slot.cell.classes
            if is_figure and "numpy" in sys.modules:
                import matplotlib.backends.backend_svg  # noqa: PLC0415  # once, and not in each copy
                import matplotlib.figure  # noqa: F401, PLC0415
            run = _without_a_trace if is_local or is_figure else _difference
            started = _processor_time()
            difference = run(slot, lines[slot.start : slot.end], namespace)
            if is_figure and not is_local and not difference:
                difference = _undrawn(slot.cell, namespace, page)
            seconds = round(_processor_time() - started, 3)
            cells.append(
                {
                    "line": slot.cell.first_code_line,
                    "needs": "local" if is_local else _needs(slot.cell),
                    "reason": slot.cell.attributes.get("reason", ""),
                    "seconds_tab": None if is_local else seconds,
                    "difference": difference,
                }
            )
    return cells


def _without_a_trace(slot: Slot, stored: list[str], namespace: dict[str, Any]) -> str:
    """Run a cell in a copy of this process, which keeps nothing of what it defines, loads or draws."""
    reading, writing = os.pipe()
    if not (child := fork()):
        with os.fdopen(writing, "w", encoding="utf-8") as file:
            file.write(_difference(slot, stored, namespace))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as file:
        difference = file.read()
    _, status = os.waitpid(child, 0)
    return difference or ("the process died" if status else "")


def _difference(slot: Slot, stored: list[str], namespace: dict[str, Any]) -> str:
    try:
        computed = slot.compute(namespace)
    except PageError as error:
        return str(error)
    for path in page_figures.DOCS.rglob("*.svg"):
        built = DOCS / path.relative_to(page_figures.DOCS)
        if built.exists():  # what is written in a figure is compared; lines may differ by rounding
            stored, computed = [*stored, *_texts(built)], [*computed, *_texts(path)]
        path.unlink()
    if agree("\n".join(stored), "\n".join(computed)):
        return ""
    return "\n".join(difflib.unified_diff(stored, computed, "stored", "in the tab", lineterm=""))


def _undrawn(cell: Fence, namespace: dict[str, Any], page: str) -> str:
    try:
        with helpers(namespace, page, draw=False):
            execute(cell, namespace, page)
    except PageError as error:
        return f"this figure fails where it is not drawn, as above a cell that is run in the tab\n{error}"
    return ""


def _processor_time() -> float:
    """Seconds of this process and the copies of it that have ended."""
    return time.process_time() + sum(os.times()[2:4])


def _texts(figure: Path) -> list[str]:
    return re.findall(r">([^<>\n]+)</(?:text|tspan)>", figure.read_text(encoding="utf-8"))


def _needs(cell: Fence) -> str:
    """What a cell needs together with the cells above it, whose figures are not drawn."""
    if "figure" in cell.classes or "matplotlib" in cell.code:
        return "figure"
    return "torch" if {"numpy", "torch"} & sys.modules.keys() else "core"


def main() -> int:
    """Measure the pages named on the command line; 1 if a cell is not what its fence says."""
    parser = page_parser("site_tools.cells.check_in_tab", __doc__)
    parser.add_argument("--in-tab", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_tab:
        print(json.dumps(run_in_tab(arguments.pages[0].resolve())))
        return 0
    pages = [path.resolve() for path in arguments.pages or page_paths()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = list(chain.from_iterable(pool.map(complaints, pages)))
    if wrong:
        print("\n\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


def complaints(path: Path) -> list[str]:
    """What is wrong with the marking of a page's cells: each runs in the tab, or says why it does not."""
    try:
        cells = measure(path)
    except (PageError, ValueError) as error:
        return [located(_name(path), error)]
    found = []
    for cell in cells:
        where = f"{_name(path)}:{cell['line']}:"
        if cell["needs"] != "local" and cell["difference"]:
            found.append(
                f"{where} differs in the tab; mend it, or mark it .local with a reason\n{cell['difference']}"
            )
        elif cell["needs"] == "local" and not cell["difference"]:
            found.append(f"{where} agrees in the tab; take .local away")
        elif cell["needs"] == "local" and not cell["reason"]:
            found.append(f'{where} say why it is .local: reason="needs ..."')
    return found


if __name__ == "__main__":
    sys.exit(main())
