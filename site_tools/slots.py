"""The places of a page whose text a program computes, and a run of the page that fills them."""

import contextlib
import gc
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from site_tools.agreement import agree
from site_tools.execution import execute, explained, helpers, page_module
from site_tools.fences import COMPUTED, Fence, dump, fences, matches, split_computed

_OPENING, _CLOSING = "<!-- output -->", "<!-- /output -->"


@dataclass(frozen=True)
class Slot:
    """A place in the page, from line ``start`` to ``end``, whose text a program computes.

    It belongs to a cell, or is an inline value, whose stored text ``columns`` bound within its line.
    """

    start: int
    end: int
    compute: Callable[[dict[str, Any]], list[str]]
    cell: Fence | None = None
    columns: tuple[int, int] | None = None


def slots(text: str, page: str) -> list[Slot]:
    """Everything in a page that is computed, in the order in which it runs."""
    lines = text.split("\n")
    cells = fences(text)
    blank = lines.copy()
    for fence in cells:
        blank[fence.start : fence.end] = [""] * (fence.end - fence.start)
    found = []
    for index, fence in enumerate(cells):
        if fence.language != "python":
            continue
        if "run" in fence.classes:
            found.append(_run_slot(fence, cells[index + 1 :], lines, page))
        elif {"table", "figure"} & set(fence.classes):
            slot = _markdown_slot(fence, lines, page)
            blank[slot.start : slot.end] = [""] * (slot.end - slot.start)
            found.append(slot)
    return sorted(
        found + _inline_slots("\n".join(blank), page), key=lambda slot: (slot.start, slot.columns or (0, 0))
    )


def _run_slot(fence: Fence, following: list[Fence], lines: list[str], page: str) -> Slot:
    """The output fence under a ``.run`` fence, or the empty place where one would go."""
    stored = following[0] if following else None
    adjacent = (
        stored is not None
        and "output" in stored.classes
        and not any(line.strip() for line in lines[fence.end : stored.start])
    )
    end = stored.end if stored is not None and adjacent else fence.end

    def compute(namespace: dict[str, Any]) -> list[str]:
        printed = execute(fence, namespace, page)
        if not printed:
            return []
        return ["", *dump("{.text .output}", printed, fence.indent)]

    return Slot(fence.end, end, compute, fence)


def _markdown_slot(fence: Fence, lines: list[str], page: str) -> Slot:
    """The lines between the output markers under a ``.table`` or ``.figure`` fence."""
    first = next((i for i in range(fence.end, len(lines)) if lines[i].strip()), len(lines))
    end = fence.end
    if first < len(lines) and lines[first].strip() == _OPENING:
        end = next((i + 1 for i in range(first, len(lines)) if lines[i].strip() == _CLOSING), 0)
        if not end:
            raise ValueError(f"{page}:{first + 1}: {_OPENING} without {_CLOSING}")

    def compute(namespace: dict[str, Any]) -> list[str]:
        with helpers(namespace, page):
            printed = execute(fence, namespace, page)
        body = [_OPENING, "", *printed, "", _CLOSING]
        return ["", *(f"{fence.indent}{line}" if line else "" for line in body)]

    return Slot(fence.end, end, compute, fence)


def _inline_slots(prose: str, page: str) -> list[Slot]:
    """The stored texts of ``{{ text = expression }}``, wherever they are not code."""
    found = []
    for line, match in matches(COMPUTED, prose):
        column = match.start() - (prose.rfind("\n", 0, match.start()) + 1)
        stored, expression = split_computed(match["value"])
        columns = (column + 3, column + 3 + (len(stored) + 1 if stored else 0))
        found.append(Slot(line - 1, line, _inline_value(expression, page, line), columns=columns))
    return found


def _inline_value(expression: str, page: str, line: int) -> Callable[[dict[str, Any]], list[str]]:
    def compute(namespace: dict[str, Any]) -> list[str]:
        with helpers(namespace, page), explained(page):
            code = compile("\n" * (line - 1) + expression, page, "eval")
            return [f"{eval(code, namespace)} "]

    return compute


@contextlib.contextmanager
def _fresh_process(page: str, text: str) -> Iterator[dict[str, Any]]:
    """A namespace in the state that a new interpreter would give, in an empty working directory.

    Random generators are seeded by chance: a page whose output depends on one must seed it, or it fails.
    """
    import numpy as np  # noqa: PLC0415 (both take seconds to import, which an unchanged page must not cost)
    import torch  # noqa: PLC0415

    gc.collect()
    gc.freeze()  # what the imports have made is not looked through each time
    random.seed()
    torch.seed()
    torch.set_num_threads(1)  # the models of the pages are so small that a second thread costs time
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_printoptions(profile="default", sci_mode=False)
    torch.set_printoptions(profile="default")
    with np.printoptions(), page_module(page, text) as namespace:
        yield namespace


@dataclass(frozen=True)
class Result:
    """A page after a run: its text with every disagreeing output replaced, and what the run took."""

    text: str
    cells: list[float]  # seconds of each, in page order
    seconds: float
    peak_mb: int


def run(text: str, page: str) -> Result:
    """Execute a page, given its text and its path from the repository root.

    Raises:
        PageError: Code of the page raises, or a cell marked ``.raises`` does not.
    """
    lines = text.split("\n")
    plan = slots(text, page)
    if not plan:
        return Result(text, cells=[], seconds=0.0, peak_mb=0)
    with _fresh_process(page, text) as namespace:
        _reset_peak()
        computed, seconds = [], []
        for slot in plan:
            started = time.perf_counter()
            computed.append(slot.compute(namespace))
            seconds.append(time.perf_counter() - started)
    for slot, new in reversed(list(zip(plan, computed, strict=True))):
        _store(lines, slot, new)
    cells = [taken for slot, taken in zip(plan, seconds, strict=True) if slot.cell]
    return Result("\n".join(lines), cells, sum(seconds), _peak_mb())


def _store(lines: list[str], slot: Slot, new: list[str]) -> None:
    """Put a computed text into its place unless the one that stands there agrees with it."""
    if slot.columns is None:
        if not agree("\n".join(lines[slot.start : slot.end]), "\n".join(new)):
            lines[slot.start : slot.end] = new
        return
    first, last = slot.columns
    line = lines[slot.start]
    if not agree(line[first:last], new[0]):
        lines[slot.start] = line[:first] + new[0] + line[last:]


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # Linux only; elsewhere the peak of the whole process is reported
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> int:
    """Largest resident memory of this process since the last reset, in MB; 0 where it cannot be read."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1000
    return 0
