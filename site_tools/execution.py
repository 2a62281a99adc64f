"""Execute the code of a page: its cells from top to bottom in one namespace, as a notebook would."""

import ast
import contextlib
import io
import linecache
import os
import re
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from llmguide.pages import cite, diagram, fact, heatmap, matrix, table
from site_tools.fences import Fence
from site_tools.page_figures import figure


class PageError(Exception):
    """Code of a page that raises, or fails to raise, against what the page says."""


def located(page: str, error: Exception) -> str:
    """The message of an error with the file and line of a page, if it does not begin with one."""
    message = str(error)
    if re.match(r"[^\s:]+:\d+: ", message):
        return message
    return f"{page}:{message.removeprefix('line ') if re.match(r'line [0-9]+: ', message) else f' {message}'}"


def execute(fence: Fence, namespace: dict[str, Any], page: str) -> list[str]:
    """Run one fence as a notebook cell and return the lines that it prints.

    Raises:
        PageError: The code raises although the fence is not marked ``.raises``, or the other way round.
    """
    printed = io.StringIO()
    raises = "raises" in fence.classes
    with contextlib.redirect_stdout(printed), explained(page):
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
def explained(page: str) -> Iterator[None]:
    """Turn an exception of page code into a PageError that begins with the line of the page."""
    try:
        yield
    except PageError:
        raise
    except Exception as error:
        problem = traceback.format_exception_only(error)[-1].strip()
        if isinstance(error, SyntaxError) and error.filename == page:
            raise PageError(f"{page}:{error.lineno}: {problem}") from error
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == page]
        last = frames[-1]
        place = "" if last.filename == page else f" (raised by {last.filename}:{last.lineno})"
        raise PageError(f"{page}:{lines[-1] if lines else 1}: {problem}{place}") from error


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
        "diagram": diagram,
        "fact": fact,
        "figure": partial(figure, page=name),
        "heatmap": heatmap,
        "matrix": matrix,
        "table": table,
    }
    if not draw:
        from site_tools import figure_stubs  # noqa: PLC0415 (unittest.mock brings asyncio, which few runs need)

        lent |= {name: getattr(figure_stubs, name) for name in ("diagram", "figure", "heatmap")}
    covered = {key: namespace[key] for key in lent if key in namespace}
    namespace.update(lent)
    try:
        yield
    finally:
        for key, value in lent.items():
            if namespace.get(key) is value:
                del namespace[key]
        namespace.update(covered)


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
