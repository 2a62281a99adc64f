"""Keep the figures of pages as SVG files that follow the reader's palette."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from llmguide.pages.figures import drawing
from site_tools import DOCS, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure(
    name: str, *, page: str, alt: str, caption: str = "", width: int = 400, height: int = 260
) -> "AbstractContextManager[tuple[Figure, Axes]]":
    """As `llmguide.pages.figures.figure`, but save the SVG of a page, and print the Markdown that shows it.

    Args:
        name: File name without its suffix; unique on its page.
        page: Page under docs/ without its suffix, such as ``"learn/attention"``. Fences need not give it.
        alt: Description of the figure for readers who do not see it.
        caption: Text under the figure, in Markdown.
        width: Width in px.
        height: Height in px.
    """

    def done(svg: str) -> None:
        write(DOCS / "assets" / "figures" / page / f"{name}.svg", svg)
        up = "../" * page.count("/")
        print(f"![{alt}]({up}assets/figures/{page}/{name}.svg)")
        if caption:
            print(f"\nFigure: {caption}")

    return drawing(f"{page}/{name}", alt=alt, width=width, height=height, done=done)
