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
The processes of the pages are copies of one that has imported the subset, numpy and matplotlib.

A page is run again only when its code or outputs, what they import (imports.py), the subset or an installed
version changes.

Examples::

    python -m site_tools.cells.check_in_tab                           measure every page
    python -m site_tools.cells.check_in_tab docs/learn/attention.md   measure one page, and show what differs
"""

import argparse
import contextlib
import difflib
import gc
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
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
SHARED = ("torch", "matplotlib.figure", "matplotlib.backends.backend_svg")  # imported once for all pages
fork = os.fork  # before the tab, which has none, is played


# ---- the parent: keeps what was measured -------------------------------------------------------------------


def result_path(path: Path) -> Path:
    """Where the measurements of a page are kept."""
    return CACHE / "tab" / path.relative_to(DOCS).with_suffix(".json")


def measure(path: Path) -> list[dict[str, Any]]:
    """Measure the cells of a page under docs/, unless nothing has changed since it was last measured.

    Raises:
        PageError: The page is no page, or ended its process.
    """
    if errors := refresh([path]):
        raise PageError(errors[path])
    return _kept(path)


def _kept(path: Path) -> list[dict[str, Any]]:
    known = json.loads(result_path(path).read_text())["cells"]
    # Prose above a cell may have changed, and moved it.
    return [cell | {"line": fence.first_code_line} for cell, fence in zip(known, _cells(path), strict=True)]


def refresh(paths: Sequence[Path]) -> dict[Path, str]:
    """Measure the pages of which something has changed since they were last measured; return their errors."""
    errors: dict[Path, str] = {}
    keys: dict[Path, str] = {}
    for path in paths:
        try:
            key = key_of(path)
        except (PageError, ValueError) as unreadable:
            errors[path] = located(_name(path), unreadable)
            continue
        kept = result_path(path)
        if not kept.exists() or json.loads(kept.read_text())["key"] != key:
            keys[path] = key
    for path in [path for path in keys if not _cells(path)]:
        write(result_path(path), json.dumps({"key": keys.pop(path), "cells": []}, indent=1))
    for path, cells, error in _measured(list(keys)):
        if error:
            errors[path] = f"{_name(path)}: the process that plays the tab ended with\n{error}"
        else:
            write(result_path(path), json.dumps({"key": keys[path], "cells": cells}, indent=1))
    return errors


def key_of(path: Path) -> str:
    """The hash of what the measurements of a page depend on."""
    code = "\n".join(cell.code for cell in _cells(path))
    programs = hash_of_imports(code, *RUNTIME.rglob("*.py"), *PROGRAMS)
    page = page_hash(path.read_text(encoding="utf-8"), _name(path))
    return hashlib.sha256("\n".join([versions(), programs, page]).encode()).hexdigest()


def _cells(path: Path) -> list[Fence]:
    return [slot.cell for slot in slots(path.read_text(encoding="utf-8"), _name(path)) if slot.cell]


def _measured(paths: Sequence[Path]) -> Iterable[tuple[Path, list[dict[str, Any]], str]]:
    """Run pages as the tab would: each page as soon as it has run, with its cells, or with its error."""
    if not paths:
        return
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (RUNTIME, ROOT / "src", ROOT))),
        "OMP_NUM_THREADS": "1",
        "LLMGUIDE_DATA": "",  # neither copies of corpora nor earlier downloads
        "LLMGUIDE_MODELS": str(CACHE / "models"),
        "XDG_CACHE_HOME": str(CACHE / "empty"),
        "MPLCONFIGDIR": str(CACHE / "matplotlib"),
    }
    if any("smollm2-135m-instruct" in path.read_text(encoding="utf-8") for path in paths):
        from site_tools.tab.language_model import model_files  # noqa: PLC0415  # torch, which the tab must not have yet

        model_files()
    command = [sys.executable, "-m", "site_tools.cells.check_in_tab", "--in-tab", *map(str, paths)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as tab:
        assert tab.stdout is not None
        for line in tab.stdout:
            number, cells, error = json.loads(line)
            yield paths[number], _with_seconds(paths[number], cells), error
    if tab.returncode:
        raise PageError(f"the process that plays the tab ended with {tab.returncode}")


def _with_seconds(path: Path, cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells of a page, with the seconds that they took with PyTorch."""
    record = record_path(path)
    seconds = json.loads(record.read_text()).get("cell_seconds", []) if record.exists() else []
    if len(seconds) != len(cells):  # the page has changed since its last run
        seconds = [None] * len(cells)
    return [cell | {"seconds": taken} for cell, taken in zip(cells, seconds, strict=True)]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- the child: plays the tab --------------------------------------------------------------------------


def run_in_tabs(paths: Sequence[Path]) -> None:
    """Run each page in a process of its own, and print its number, cells and error as a line of JSON."""
    tab_process.become_tab()
    for name in SHARED:
        import_module(name)
    gc.collect()
    gc.freeze()  # what the processes share is not looked through in each
    running: dict[int, int] = {}  # number of a page, by its process
    with tempfile.TemporaryDirectory() as folder:

        def report() -> None:
            process, status = os.wait()
            number = running.pop(process)
            died = json.dumps([number, [], f"status {os.waitstatus_to_exitcode(status)}"])
            print(died if status else Path(folder, str(number)).read_text(), flush=True)

        for number, path in enumerate(paths):
            if len(running) == os.cpu_count():
                report()
            if child := fork():
                running[child] = number
                continue
            try:
                with contextlib.redirect_stderr(io.StringIO()):  # as the pages, which show no warnings
                    result = [number, run_in_tab(path), ""]
            except BaseException:  # even the end of the process
                result = [number, [], traceback.format_exc()]
            Path(folder, str(number)).write_text(json.dumps(result))
            os._exit(0)
        while running:
            report()


def run_in_tab(path: Path) -> list[dict[str, Any]]:
    """Run the cells of a page in this process, a copy of one that plays the tab."""
    text, page = path.read_text(encoding="utf-8"), _name(path)
    lines = text.split("\n")
    tab_process.imported.clear()
    cells = []
    with page_module(page, text) as namespace, tempfile.TemporaryDirectory() as drawn:
        page_figures.DOCS = Path(drawn)  # those of the page itself are PyTorch's
        for slot in slots(text, page):
            if slot.cell is None:
                continue
            is_local, is_figure = "local" in slot.cell.classes, "figure" in slot.cell.classes
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
    return "torch" if {"numpy", "torch"} & tab_process.imported else "core"


def main() -> int:
    """Measure the pages named on the command line; 1 if a cell is not what its fence says."""
    parser = page_parser("site_tools.cells.check_in_tab", __doc__)
    parser.add_argument("--in-tab", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_tab:
        run_in_tabs(arguments.pages)
        return 0
    wrong = complaints([path.resolve() for path in arguments.pages or page_paths()])
    if wrong:
        print("\n\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


def complaints(paths: Sequence[Path]) -> list[str]:
    """What is wrong with the marking of the pages' cells: each runs in the tab, or says why it does not."""
    errors = refresh(paths)
    found = ([errors[path]] if path in errors else _complaints(path) for path in paths)
    return list(chain.from_iterable(found))


def _complaints(path: Path) -> list[str]:
    found = []
    for cell in _kept(path):
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
