"""The helpers of table and figure fences for a notebook: what they print is shown as Markdown and drawings.

Each notebook that site_tools/cells/notebooks.py writes brings this file and those that it imports along, and
sets ``colors``.
"""

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from IPython.display import SVG, Markdown, display

from site_tools import DOCS, diagrams, figures, tables
from site_tools.facts import cite, fact

__all__ = ["cite", "diagram", "fact", "figure", "heatmap", "matrix", "table"]

SITE = "https://llmguide.github.io/llmguide/"
colors: dict[str, str] = {}  # value of each CSS variable that a figure uses
diagram = diagrams.Diagram
heatmap = figures.heatmap
_CITATION = re.compile(r"\[@(?P<work>[\w-]+)(?P<where>[^\]]*)\]")


def _shown(helper: Callable[..., None]) -> Callable[..., None]:
    def show(*args: Any, **options: Any) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            helper(*args, **options)
        link = rf"[\g<work>]({SITE}bibliography/#\g<work>)\g<where>"
        display(Markdown(_CITATION.sub(link, printed.getvalue())))

    return show


table = _shown(tables.table)
matrix = _shown(tables.matrix)


@contextlib.contextmanager
def figure(name: str, **options: Any) -> Iterator[Any]:
    """Draw as figures.figure() does, and show the drawing and its caption."""
    with contextlib.redirect_stdout(io.StringIO()), figures.figure(name, page="notebook", **options) as drawn:
        yield drawn
    svg = (DOCS / "assets" / "figures" / "notebook" / f"{name}.svg").read_text(encoding="utf-8")
    for variable, value in colors.items():
        svg = svg.replace(f"var({variable})", value)
    display(SVG(svg.replace('style="', 'style="background: white; ', 1)))
    if options.get("caption"):
        display(Markdown(options["caption"]))
