"""Show Markdown and drawings: rendered in a notebook, printed anywhere else."""

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

SITE = "https://llmguide.github.io/llmguide/"
_CITATION = re.compile(r"\[@(?P<work>[\w-]+)(?P<where>[^\]]*)\]")


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def show(markdown: str) -> None:
    """Show Markdown. In a notebook, its citations lead to the bibliography of the guide.

    Args:
        markdown: Markdown source.

    >>> show("12 layers [@brown2020]")
    12 layers [@brown2020]
    """
    if not in_notebook():
        print(markdown)
        return
    link = rf"[\g<work>]({SITE}bibliography/#\g<work>)\g<where>"
    ipython = _ipython()
    ipython.display(ipython.Markdown(_CITATION.sub(link, markdown)))


def show_svg(svg: str, *, name: str, alt: str) -> None:
    """Show a drawing. Outside of a notebook, save it in the current folder.

    Args:
        svg: SVG source.
        name: Name of the file, without its suffix.
        alt: Description of the drawing for readers who do not see it.
    """
    if in_notebook():
        _ipython().display(_ipython().SVG(svg))
        return
    Path(f"{name}.svg").write_text(svg, encoding="utf-8")
    print(f"![{alt}]({name}.svg)")


def _ipython() -> Any:
    """Import what only a notebook has."""
    return import_module("IPython.display")
