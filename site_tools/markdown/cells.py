"""Tells the page what each of its cells needs in the reader's tab, from measurement.

A run, table or figure fence gets its number and needs as ``data-`` attributes, which become buttons in
runtime/cells.js; the Markdown of a computed table stands beside the table, so that a new run can be
compared with it. Without scripts nothing of this shows.
"""

import json
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from site_tools import CACHE, DOCS
from site_tools.fences import Fence, fences
from site_tools.tab.models import MODELS
from site_tools.tab.tab_assets import MANIFEST

CELLS = ("run", "table", "figure")
CLOSING = "<!-- /output -->"
WITH_CELLS = CACHE / "pages_with_cells.json"  # for the tests that press them


class CellsExtension(Extension):
    """Registers the preprocessor."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the preprocessor after white space is normal (30), while all else is Markdown."""
        md.preprocessors.register(_Cells(md), "cells", 29.8)
        md.block_level_elements.append("template")  # Markdown would put it into a paragraph


class _Cells(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        cells = cells_of("\n".join(lines))
        measured = measurements(tuple(cell.code for cell in cells))
        result: list[str] = []
        codes = ""  # of the cells that run before and with a cell
        needs_above = "core"
        position = 0
        for number, (cell, measures) in enumerate(zip(cells, measured, strict=True), start=1):
            if "local" not in cell.classes:
                codes += cell.code
            opening = lines[cell.start].rstrip()
            assert opening.endswith("}"), "a fence with classes has braces"
            result += [
                *lines[position : cell.start],
                f"{opening[:-1]} {_attributes(number, cell, measures, codes, needs_above)}}}",
            ]
            if _runs_above(cell):
                needs_above = max(needs_above, measures["needs"], key=_step)
            position = cell.start + 1
            if "table" in cell.classes:
                first = next(i for i in range(cell.end, len(lines)) if lines[i].strip())  # <!-- output -->
                last = next((i for i in range(first, len(lines)) if lines[i].strip() == CLOSING), None)
                if last is None:
                    raise ValueError(
                        f"a table has no output yet; make check UPDATE=1 writes it:\n{cell.code}"
                    )
                result += [
                    *lines[position : first + 1],
                    "",
                    f"{cell.indent}{self.stored(lines[first + 1 : last])}",
                ]
                position = first + 1
        return result + lines[position:]

    def stored(self, lines: list[str]) -> str:
        """The Markdown of a table, where only scripts see it."""
        text = "\n".join(line.strip() for line in lines).strip()
        data = escape(json.dumps(text, ensure_ascii=False))
        # Instant navigation would run a script, whatever its type.
        placeholder: str = self.md.htmlStash.store(
            f'<template class="stored" data-markdown="{data}"></template>'
        )
        return placeholder


def cells_of(text: str) -> list[Fence]:
    """The fences of a page that run, in their order."""
    return [fence for fence in fences(text) if fence.language == "python" and set(CELLS) & set(fence.classes)]


def _runs_above(cell: Fence) -> bool:
    """Whether the cells below need all that a cell needs: a figure is not drawn above another cell."""
    return "local" not in cell.classes and ("figure" not in cell.classes or "matplotlib" in cell.code)


def _step(needs: str) -> int:
    return ("core", "torch", "figure").index(needs)


def _attributes(number: int, cell: Fence, measures: dict[str, Any], codes: str, above: str) -> str:
    there = {model["name"]: model for model in _manifest(MANIFEST.stat().st_mtime)["models"]}
    models = [model for model in MODELS if model.name in codes]
    lacking = [model.title for model in models if model.name not in there]
    is_local = "local" in cell.classes or lacking
    # Measures from before the mark was taken away say local.
    needs = "local" if is_local else measures["needs"].replace("local", "torch")
    wanted = {} if is_local else loads(max(needs, above, key=_step), codes)
    reason = f"this site was built without {lacking[0]}" if lacking else None
    found = {
        "cell": number,
        "needs": needs,
        "loads": " ".join(f"{name}:{size}" for name, size in wanted.items()) or None,
        "models": " ".join(
            f"{model.name}:{model.title}:{there[model.name]['megabytes']}:{model.memory}"
            for model in models
            if not is_local
        )
        or None,
        "seconds": measures["seconds"],
        "seconds-tab": measures["seconds_tab"],
        "reason": cell.attributes.get("reason", reason),
    }
    return " ".join(f'data-{name}="{value}"' for name, value in found.items() if value is not None)


def measurements(codes: tuple[str, ...]) -> list[dict[str, Any]]:
    """What check_in_tab.py noted of the page with this code; where it has not run, a safe guess."""
    for path in (CACHE / "tab").rglob("*.json"):
        page = DOCS / path.relative_to(CACHE / "tab").with_suffix(".md")
        if page.is_file() and _codes(page, page.stat().st_mtime) == codes:
            cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
            # A run that went wrong did not come to all that the page imports.
            if len(cells) == len(codes) and not any(c["difference"] for c in cells if c["needs"] != "local"):
                return cells
    unknown = {"seconds": None, "seconds_tab": None}
    return [{"needs": "figure" if "figure(" in code else "torch", **unknown} for code in codes]


@cache
def _codes(page: Path, _changed: float) -> tuple[str, ...]:
    return tuple(cell.code for cell in cells_of(page.read_text(encoding="utf-8")))


def loads(needs: str, codes: str = "") -> dict[str, float]:
    """Megabytes of each part that a first run downloads; empty where not all are known, or nothing runs."""
    manifest = _manifest(MANIFEST.stat().st_mtime)
    steps = manifest["steps"]
    if needs not in steps:
        return {}
    wanted = {step: steps[step]["megabytes"] for step in list(steps)[: list(steps).index(needs) + 1]}
    for extra in manifest["extras"]:
        if re.search(extra["pattern"], codes):
            wanted[extra["wheels"][0]["name"]] = extra["megabytes"]
    return {} if None in wanted.values() else wanted


@cache
def _manifest(_changed: float) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return manifest


makeExtension = CellsExtension
