"""Execute the code of a page: its cells from top to bottom in one namespace, as a notebook would."""

import ast
import contextlib
import io
import linecache
import os
import random
import re
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from site_tools.facts import cite, fact
from site_tools.fences import COMPUTED, Fence, dump, fences, outside_code, split_computed
from site_tools.tables import matrix, table

_NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d*)?(?:[eE][-+]?\d+)?")
_OPENING, _CLOSING = "<!-- output -->", "<!-- /output -->"


class PageError(Exception):
    """Code of a page that raises, or fails to raise, against what the page says."""


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


# ---- finding what to run ---------------------------------------------------------------------------


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
    found: list[Slot] = []

    def note(match: re.Match[str]) -> str:
        line = prose.count("\n", 0, match.start())
        column = match.start() - (prose.rfind("\n", 0, match.start()) + 1)
        stored, expression = split_computed(match["value"])
        columns = (column + 3, column + 3 + (len(stored) + 1 if stored else 0))
        found.append(Slot(line, line + 1, _inline_value(expression, page, line + 1), columns=columns))
        return match[0]

    outside_code(COMPUTED, note)(prose)
    return found


def _inline_value(expression: str, page: str, line: int) -> Callable[[dict[str, Any]], list[str]]:
    def compute(namespace: dict[str, Any]) -> list[str]:
        with helpers(namespace, page), _explained(page):
            code = compile("\n" * (line - 1) + expression, page, "eval")
            return [f"{eval(code, namespace)} "]

    return compute


# ---- running ---------------------------------------------------------------------------------------


def execute(fence: Fence, namespace: dict[str, Any], page: str) -> list[str]:
    """Run one fence as a notebook cell and return the lines that it prints.

    Raises:
        PageError: The code raises although the fence is not marked ``.raises``, or the other way round.
    """
    printed = io.StringIO()
    raises = "raises" in fence.classes
    with contextlib.redirect_stdout(printed), _explained(page):
        try:
            _run_cell(fence.code, fence.first_code_line, namespace, page)
        except Exception as error:
            if not raises:
                raise
            print(traceback.format_exception_only(error)[-1].strip())
        else:
            if raises:
                raise PageError(
                    f"{page}:{fence.first_code_line}: the cell is marked .raises but raises nothing"
                )
    return (
        [line.rstrip() for line in printed.getvalue().strip("\n").split("\n")] if printed.getvalue() else []
    )


def _run_cell(code: str, first_line: int, namespace: dict[str, Any], page: str) -> None:
    """Execute statements; print the value of a last expression that is not None."""
    tree = ast.parse("\n" * (first_line - 1) + code, page)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    exec(compile(tree, page, "exec"), namespace)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), page, "eval"), namespace)
        if value is not None:
            print(repr(value))


@contextlib.contextmanager
def _explained(page: str) -> Iterator[None]:
    """Turn an exception of page code into a PageError whose traceback starts in the page."""
    try:
        yield
    except PageError:
        raise
    except Exception as error:
        frames = traceback.TracebackException.from_exception(error)
        while frames.stack and frames.stack[0].filename != page:
            frames.stack.pop(0)
        raise PageError("".join(frames.format()).rstrip()) from error


@contextlib.contextmanager
def helpers(namespace: dict[str, Any], page: str, *, draw: bool = True) -> Iterator[None]:
    """Lend the table and figure helpers to one cell, without taking names from the page.

    Args:
        namespace: Names of the page.
        page: Path of the page from the repository root.
        draw: Whether figures are drawn; without it, a figure fence only defines its names.
    """
    name = Path(page).relative_to("docs").with_suffix("").as_posix()
    lent: dict[str, Any] = {
        "cite": cite,
        "diagram": lambda axes: _diagrams().Diagram(axes),
        "fact": fact,
        "figure": lambda *args, **options: _figures().figure(*args, page=name, **options),
        "heatmap": lambda *args, **options: _figures().heatmap(*args, **options),
        "matrix": matrix,
        "table": table,
    }
    if not draw:
        # unittest.mock brings asyncio, which few runs need
        from site_tools.figure_stubs import diagram, figure, heatmap  # noqa: PLC0415

        lent |= {"diagram": diagram, "figure": figure, "heatmap": heatmap}
    covered = {key: namespace[key] for key in lent if key in namespace}
    namespace.update(lent)
    try:
        yield
    finally:
        for key, value in lent.items():
            if namespace.get(key) is value:
                del namespace[key]
        namespace.update(covered)


def _diagrams() -> Any:
    from site_tools import diagrams  # noqa: PLC0415 (as figures)

    return diagrams


def _figures() -> Any:
    from site_tools import figures  # noqa: PLC0415 (matplotlib, which a page without figures need not load)

    return figures


@contextlib.contextmanager
def _fresh_process(page: str, text: str) -> Iterator[dict[str, Any]]:
    """A namespace in the state that a new interpreter would give, in an empty working directory.

    Random generators are seeded by chance: a page whose output depends on one must seed it, or it fails.
    """
    import numpy as np  # noqa: PLC0415 (both take seconds to import, which an unchanged page must not cost)
    import torch  # noqa: PLC0415

    random.seed()
    torch.seed()
    torch.set_num_threads(1)  # the models of the pages are so small that a second thread costs time
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_printoptions(profile="default", sci_mode=False)
    torch.set_printoptions(profile="default")
    with np.printoptions(), page_module(page, text) as namespace:
        yield namespace


@contextlib.contextmanager
def page_module(page: str, text: str) -> Iterator[dict[str, Any]]:
    """The namespace of a page: a module of its own, whose code tracebacks show, in an empty directory."""
    linecache.cache[page] = (len(text), None, text.splitlines(keepends=True), page)
    module = types.ModuleType("page")
    sys.modules["page"] = module
    before = Path.cwd()
    try:
        with tempfile.TemporaryDirectory() as directory:
            os.chdir(directory)
            yield module.__dict__
    finally:
        os.chdir(before)
        del sys.modules["page"]


# ---- comparing -------------------------------------------------------------------------------------


def agree(stored: str, computed: str) -> bool:
    """Whether two outputs agree: text and integers exactly, floats to one unit of their last digit.

    Two numbers after ``≈`` also agree if neither is over twice the other: what a training run arrives at
    depends on how a processor rounds.

    >>> agree("loss 0.693, step 12", "loss 0.694, step 12")
    True
    >>> agree("loss 0.693, step 12", "loss 0.693, step 13")
    False
    >>> agree("KL ≈1.0", "KL ≈1.9"), agree("KL ≈1.0", "KL ≈2.1"), agree("KL ≈1.0", "KL ≈-1.0")
    (True, False, False)
    """
    if stored == computed:
        return True
    if _NUMBER.sub("#", stored) != _NUMBER.sub("#", computed):
        return False
    pairs = zip(_NUMBER.finditer(stored), _NUMBER.finditer(computed), strict=True)
    return all(_same(a[0], b[0], is_rough=stored[: a.start()].endswith("≈")) for a, b in pairs)


def _same(a: str, b: str, *, is_rough: bool) -> bool:
    if a == b or abs(_value(a) - _value(b)) <= 1.001 * min(_unit(a), _unit(b)):
        return True
    return is_rough and _value(b) != 0 and 0.5 <= _value(a) / _value(b) <= 2


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _unit(number: str) -> float:
    """Worth of the last printed digit; 0 for an integer, which must be exact."""
    mantissa, _, exponent = number.lower().partition("e")
    if "." not in mantissa and not exponent:
        return 0.0
    decimals = len(mantissa.partition(".")[2])
    return float(10.0 ** (int(exponent or 0) - decimals))


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
