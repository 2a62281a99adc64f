"""Labs: notebooks that go from data to a result in a minute or two.

A lab is written as ``docs/projects/labs/NAME.py``, in jupytext's percent format. Beside it is ``NAME.ipynb``,
the same cells with their outputs. Readers download it, and mkdocs-jupyter renders it as a page of the site,
by the template in ``site_tools/templates``. ``python -m site_tools.cells.run_pages`` executes a lab when its
code or the package has changed, and compares the outputs.

Cells may have these metadata:

- ``tags=["skip-execution"]``: only readers run this cell, such as one that installs packages.
- ``tags=["sampled"]``: prints text that a trained model sampled. It depends on how a processor rounds, so it
  is stored but not compared.
- ``alt="..."``: what the figure of the cell shows, for those who do not see it. Every figure needs one.

Figures are drawn with plain matplotlib. Their colors are CSS variables, which the site defines for light and
dark. Elsewhere the values of the light palette apply.
"""

import json
import os
import re
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from llmguide.pages.figures import VARIABLES, style, tidy
from site_tools import DOCS, ROOT
from site_tools.agreement import agree
from site_tools.execution import PageError
from site_tools.fences import dump
from site_tools.slots import Result

EMPTY = json.dumps({"metadata": {}, "cells": []})  # a lab that was never executed
LANGUAGE = {"name": "python"}
FOLDER = DOCS / "projects" / "labs"
WIDTH, HEIGHT = 400, 260  # of a figure in px
ENVIRONMENT = {  # of a kernel; tqdm, which transformers imports, warns where there are no widgets
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",
    "TQDM_DISABLE": "1",  # a first run converts a model, and shows its progress
}
_PAPER = 'style="background: white; '  # of a figure that is shown outside the site


def paths() -> list[Path]:
    """Every lab, as the notebook with its outputs."""
    return [path.with_suffix(".ipynb") for path in sorted(FOLDER.glob("*.py"))]


def is_lab(page: str | Path) -> bool:
    """Whether a page is a lab."""
    return Path(page).suffix == ".ipynb"


def _notebook(page: str) -> Any:
    """The source of a lab as a notebook without outputs, given the path of its notebook from the root."""
    import jupytext  # noqa: PLC0415 (slow to import)

    notebook = jupytext.reads((ROOT / page).with_suffix(".py").read_text(encoding="utf-8"), fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    notebook.metadata.pop("jupytext", None)  # how the source was read
    notebook.metadata["language_info"] = LANGUAGE
    return notebook


def _code(notebook: dict[str, Any], *keys: str) -> list[list[Any]]:
    return [[cell[key] for key in keys] for cell in notebook["cells"] if cell["cell_type"] == "code"]


def code(page: str) -> str:
    """What is executed of a lab."""
    cells = _code(_notebook(page), "source", "metadata")
    return "\n".join(source for source, metadata in cells if "skip-execution" not in metadata.get("tags", []))


def _dump(notebook: dict[str, Any]) -> str:
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def refreshed(text: str, page: str) -> str:
    """The notebook of a lab with the text of its source, if it has the code of its source."""
    written, stored = _notebook(page), json.loads(text)
    if _code(written, "source", "metadata") != _code(stored, "source", "metadata"):
        return text
    outputs = iter(_code(stored, "outputs"))
    for cell in written.cells:
        if cell.cell_type == "code":
            (cell.outputs,) = next(outputs)
    return _dump(written)


def fingerprint(text: str, page: str) -> str:
    """What has to be executed again when it changes: the code of a lab, and its stored outputs."""
    source = _code(_notebook(page), "source", "metadata")
    return json.dumps([source, _code(json.loads(text), "source", "metadata", "outputs")])


# ---- executing -------------------------------------------------------------------------------------


def run(text: str, page: str) -> Result:
    """Execute the source of a lab; stored outputs that agree with the computed ones are kept.

    Args:
        text: The stored notebook.
        page: Path of the notebook from the repository root.

    Raises:
        PageError: A cell raises, writes to stderr, or draws a figure without ``alt``.
    """
    from nbclient import NotebookClient  # noqa: PLC0415 (slow to import, and a lab seldom changes)
    from nbclient.exceptions import CellExecutionError  # noqa: PLC0415

    notebook = _notebook(page)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "matplotlibrc")
        settings.write_text(_matplotlibrc(Path(page).stem), encoding="utf-8")
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            coalesce_streams=True,
            extra_arguments=["--InlineBackend.figure_formats=svg", "--log-level=ERROR"],
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env=os.environ | {"MATPLOTLIBRC": str(settings), **ENVIRONMENT})
        except CellExecutionError as error:
            raise PageError(f"{page}: {error}") from error
    seconds = time.perf_counter() - started
    notebook.metadata["language_info"] = LANGUAGE  # without the version that ran it
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [output_of(output, cell, page) for output in cell.outputs]
    computed = json.loads(json.dumps(notebook))
    stored = json.loads(text)
    if stored["metadata"] != computed["metadata"] or not same(stored["cells"], computed["cells"]):
        text = _dump(computed)
    return Result(text, [seconds], seconds, peak_mb=0)


def _matplotlibrc(name: str) -> str:
    """The style of the guide's figures, for a kernel."""
    settings = {
        **style(WIDTH),
        "figure.figsize": f"{WIDTH / 72}, {HEIGHT / 72}",
        "figure.constrained_layout.use": True,
        "savefig.transparent": True,
        "svg.hashsalt": name,
    }
    return "".join(f"{key}: {value}\n".replace("#", "") for key, value in settings.items())


def output_of(output: Any, cell: Any, page: str) -> dict[str, Any]:
    """An output without what differs between runs.

    Raises:
        PageError: It is neither printed text, nor a value, nor a figure with a text alternative.
    """
    if output.output_type == "stream" and output.name == "stdout":
        return {"output_type": "stream", "name": "stdout", "text": output.text}
    data = output.get("data", {})
    if "image/svg+xml" in data:
        alt = cell.metadata.get("alt", "")
        if not alt:
            raise PageError(f'{page}: {cell.id} draws a figure; say what it shows: # %% alt="..."')
        svg = tidy(data["image/svg+xml"], prefix=f"{Path(page).stem}-{cell.id}", alt=alt)
        svg = svg.replace('style="', _PAPER, 1)
        for variable, color in _colors().items():
            svg = svg.replace(f"var({variable})", f"var({variable}, {color})")
        return {
            "output_type": "display_data",
            "metadata": {},
            "data": {"image/svg+xml": svg, "text/plain": alt},
        }
    if output.output_type == "execute_result" and set(data) == {"text/plain"}:
        return {"output_type": "execute_result", "metadata": {}, "execution_count": None, "data": data}
    raise PageError(f"{page}: {cell.id} has an output that a lab cannot show: {output.get('text', data)}")


@cache
def _colors() -> dict[str, str]:
    """The value that each CSS variable of a figure has in the light palette."""
    from site_tools.built.book import with_colors  # noqa: PLC0415 (brings lxml)

    css = (DOCS / "css" / "guide.css").read_text(encoding="utf-8")
    return {name: with_colors(f"var({name})", css) for name in VARIABLES.values()}


def same(stored: list[dict[str, Any]], computed: list[dict[str, Any]]) -> bool:
    """Whether the cells of two notebooks are the same, and their outputs agree."""
    return len(stored) == len(computed) and all(map(_same_cell, stored, computed))


def _same_cell(stored: dict[str, Any], computed: dict[str, Any]) -> bool:
    if {**stored, "outputs": 0} != {**computed, "outputs": 0}:
        return False
    old, new = ([_said(output) for output in cell.get("outputs", ())] for cell in (stored, computed))
    if "sampled" in computed["metadata"].get("tags", ()):
        return len(old) == len(new)
    return agree("\n".join(old), "\n".join(new))


def _said(output: dict[str, Any]) -> str:
    """The text of an output; of a figure, that of its axes and legend, whose lines depend on rounding."""
    data = output.get("data", {})
    if "image/svg+xml" in data:
        return " ".join(ElementTree.fromstring(data["image/svg+xml"]).itertext())
    text: str = output.get("text", data.get("text/plain", ""))
    return text


# ---- showing ---------------------------------------------------------------------------------------


def source(page: str) -> str:
    """A page as Markdown, given its path below docs/."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return markdown(json.loads(text), page) if is_lab(page) else text


def markdown(notebook: dict[str, Any], page: str) -> str:
    """A notebook in the Markdown of the guide's pages."""
    return head(notebook, page) + "\n\n".join(map(as_markdown, notebook["cells"])) + "\n"


def head(notebook: dict[str, Any], page: str) -> str:
    """The front matter of the page of a lab."""
    edited = Path("docs", page).with_suffix(".py").as_posix()
    return f"---\ndescription: {json.dumps(notebook['metadata']['description'])}\nedit: {edited}\n---\n\n"


def as_markdown(cell: dict[str, Any]) -> str:
    """A cell and its outputs in the Markdown of the guide's pages."""
    text: str = cell["source"]
    if cell["cell_type"] == "markdown":
        return text
    parts = ["\n".join(dump("{.python}", text.split("\n"), ""))]
    for output in cell["outputs"]:
        svg = output.get("data", {}).get("image/svg+xml", "")
        if svg:
            drawn = re.sub(r"var\((--[\w-]+), [^)]*\)", r"var(\1)", svg.replace(_PAPER, 'style="', 1)).strip()
            parts.append(f'<figure class="computed-figure">{drawn}</figure>')
        else:
            parts.append("\n".join(dump("{.text .output}", _said(output).rstrip("\n").split("\n"), "")))
    return "\n\n".join(parts)
