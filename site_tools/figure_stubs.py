"""Stand-ins for the figure helpers where a fence runs for the names that it defines, without matplotlib."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock


class Undrawn(MagicMock):
    """Part of a drawing: accepts any call, and returns what code would unpack, loop over or compute with."""

    def subplots(self, nrows: int = 1, ncols: int = 1, *, squeeze: bool = True, **_: Any) -> Any:
        """Return axes as matplotlib does: an array, or with ``squeeze`` single axes for one panel."""
        import numpy as np  # noqa: PLC0415 (every page with figures loads it, but not every page)

        panels = np.empty((nrows, ncols), dtype=object)
        for place in np.ndindex(nrows, ncols):
            panels[place] = Undrawn()
        if not squeeze:
            return panels
        return panels.item() if panels.size == 1 else panels.squeeze()

    def plot(self, *data: Any, **_: Any) -> list["Undrawn"]:
        """Return one line for each pair of x and y, or for each column of y."""
        lines, rest = [], list(data)
        while rest:
            y = rest.pop(0)
            if rest and not isinstance(rest[0], str):
                y = rest.pop(0)
            if rest and isinstance(rest[0], str):
                rest.pop(0)
            columns = y.shape[1] if len(getattr(y, "shape", ())) == 2 else 1
            lines += [Undrawn() for _ in range(columns)]
        return lines

    def bar(self, x: Any, *_: Any, **__: Any) -> list["Undrawn"]:
        """Return one rectangle for each bar."""
        return [Undrawn() for _ in x] if hasattr(x, "__len__") else [Undrawn()]

    barh = bar

    def get_xlim(self) -> tuple[float, float]:
        """Return the limits of axes that nothing was drawn on."""
        return 0.0, 1.0

    get_ylim = get_zlim = get_xbound = get_ybound = get_xlim

    def get_legend_handles_labels(self) -> tuple[list[Any], list[str]]:
        """Return no entries for a legend."""
        return [], []


@contextmanager
def figure(*_: Any, **__: Any) -> Iterator[tuple[Undrawn, Undrawn]]:
    """Take the place of ``llmguide.pages.figure``."""
    yield Undrawn(), Undrawn()


def diagram(_: Any) -> Undrawn:
    """Take the place of ``llmguide.pages.diagram``."""
    return Undrawn()


def heatmap(*_: Any, **__: Any) -> None:
    """Take the place of ``llmguide.pages.heatmap``."""
