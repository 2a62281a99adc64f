r"""Draw the mechanisms of models: tensors as boxes with their shapes, tokens as cells, data as arrows.

One color stands for one role on every page: tokens and text are ``data``, parameters ``weights``, activations
and caches ``states``, losses, rewards and gradients ``signal``, and all else is ``neutral``.

Examples::

    with figure("linear", alt="...", width=320, height=160) as (drawing, axes):
        d = Diagram(axes)
        x = d.box(60, 80, "x\n(B, d)", role="data")
        w = d.box(200, 80, "W\n(d, d)", role="weights")
        d.arrow(x.right, w.left)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from llmguide.pages.figures import ACCENTS, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch
    from matplotlib.text import Text

Role = Literal["data", "weights", "states", "signal", "neutral"]
COLORS: dict[Role, str] = {
    "data": ACCENTS[0],
    "weights": ACCENTS[1],
    "states": ACCENTS[2],
    "signal": ACCENTS[3],
    "neutral": MUTED,
}
_HALF_CAPITAL = 0.36  # of the font size
_FILL = 0.16  # opacity: ink on it stays legible in both palettes

Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle around (x, y), in px; y grows downward."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> Point:
        """Middle of the left edge."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        """Middle of the right edge."""
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> Point:
        """Middle of the upper edge."""
        return self.x, self.y - self.height / 2

    @property
    def bottom(self) -> Point:
        """Middle of the lower edge."""
        return self.x, self.y + self.height / 2


class Diagram:
    """Boxes, cells and arrows on axes whose unit is a px, with (0, 0) in the upper left corner."""

    def __init__(self, axes: "Axes") -> None:
        """Take the axes that `figure` yields."""
        self.axes = axes
        width, height = 72 * axes.figure.get_size_inches()  # type: ignore[union-attr]  # in no subfigure
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_position((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()

    def box(
        self,
        x: float,
        y: float,
        text: str = "",
        *,
        role: Role = "neutral",
        width: float = 80,
        height: float = 40,
        dashed: bool = False,
        filled: bool = True,
    ) -> Box:
        """Draw a rounded box around (x, y) with text in it.

        Args:
            x: Distance of the center from the left in px.
            y: Distance of the center from the top in px.
            text: Lines of text in the box.
            role: Role of the tensor or component, which gives the box its color.
            width: Width in px.
            height: Height in px.
            dashed: Whether the outline is dashed, as it is for what is frozen, optional or not stored.
            filled: Whether the box is filled with a light shade of its color.

        Raises:
            ValueError: The text is larger than the box.
        """
        from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415 (slow, and not needed for the colors)

        style: dict[str, Any] = {
            "boxstyle": "round,pad=0,rounding_size=5",
            "linestyle": "--" if dashed else "-",
        }
        corner = (x - width / 2, y - height / 2)
        colors = _colors(role if filled else None, role)
        self._add(FancyBboxPatch(corner, width, height, linewidth=1.4, **style, **colors))
        box = Box(x, y, width, height)
        self._label(box, text)
        return box

    def cells(
        self,
        x: float,
        y: float,
        texts: Sequence[str],
        *,
        roles: Role | Sequence[Role | None] = "neutral",
        width: float = 24,
        height: float = 24,
        gap: float = 0,
        vertical: bool = False,
    ) -> list[Box]:
        """Draw a row (or column) of square-cornered cells, of which the first has its center at (x, y).

        Args:
            x: Distance of the center of the first cell from the left in px.
            y: Distance of the center of the first cell from the top in px.
            texts: Text of each cell, which may be empty.
            roles: Role of all cells, or a list with the role of each; None leaves a cell white.
            width: Width of a cell in px.
            height: Height of a cell in px.
            gap: Space between cells in px.
            vertical: Whether the cells are in a column instead of a row.

        Raises:
            ValueError: A text is larger than its cell.
        """
        from matplotlib.patches import Rectangle  # noqa: PLC0415 (as above)

        right, down = (0, height + gap) if vertical else (width + gap, 0)
        boxes = []
        for i, text in enumerate(texts):
            role = roles if isinstance(roles, str) else roles[i]
            box = Box(x + i * right, y + i * down, width, height)
            corner = (box.x - width / 2, box.y - height / 2)
            self._add(Rectangle(corner, width, height, linewidth=1.0, **_colors(role, role or "neutral")))
            self._label(box, text)
            boxes.append(box)
        return boxes

    def arrow(
        self,
        start: Point,
        end: Point,
        text: str = "",
        *,
        role: Role = "neutral",
        bend: float = 0,
        dashed: bool = False,
    ) -> None:
        """Draw an arrow in the direction in which data flows, with a text beside its middle.

        Args:
            start: Point (x, y) at which the arrow starts, in px.
            end: Point (x, y) at which its head is, in px.
            text: Text above the middle of the arrow, or to the right of a vertical arrow.
            role: Role of the data that flows, which gives the arrow its color.
            bend: Curvature of the line: 0 is straight, positive values bend it to the left of its direction.
            dashed: Whether the line is dashed, as it is for what flows backward or only sometimes.
        """
        from matplotlib.patches import FancyArrowPatch  # noqa: PLC0415 (as above)

        line = FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=9, linewidth=1.3, color=COLORS[role],
            shrinkA=1, shrinkB=1, connectionstyle=f"arc3,rad={bend}", linestyle="--" if dashed else "-",
        )  # fmt: skip
        self._add(line)
        if text:
            x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
            upright = abs(end[0] - start[0]) < abs(end[1] - start[1])
            if upright:
                self.text(x + 6, y, text, align="left")
            else:
                self.text(x, y - 10, text)

    def text(self, x: float, y: float, text: str, *, align: str = "center") -> "Text":
        """Write text around a point.

        Args:
            x: Distance of the point from the left in px.
            y: Distance of the point from the top in px.
            text: Text to write; lines are separated by line breaks.
            align: Alignment of the text at the point: ``left``, ``center`` or ``right``.
        """
        if "\n" in text:
            return self.axes.text(x, y, text, ha=align, va="center", color=INK, linespacing=1.25)
        # on one baseline, whether or not a letter rises above the others
        written = self.axes.text(x, y, text, ha=align, va="baseline", color=INK)
        written.set_y(y + _HALF_CAPITAL * float(written.get_fontsize()))
        return written

    def _add(self, patch: "Patch") -> None:
        self.axes.add_patch(patch)
        patch.set_clip_on(False)  # a clip path in the file for each

    def _label(self, box: Box, text: str) -> None:
        if not text:
            return
        written = self.text(box.x, box.y, text)
        extent, scale = written.get_window_extent(), 72 / self.axes.figure.dpi
        width, height = scale * extent.width, scale * extent.height
        if width > box.width or height > box.height:
            raise ValueError(
                f"{text!r} needs {width:.0f} x {height:.0f} px and its box has "
                f"{box.width:g} x {box.height:g}: enlarge the box or shorten the text"
            )


def _colors(fill: Role | None, edge: Role) -> dict[str, Any]:
    """Colors of a patch: the fill is light, and None leaves it out."""
    from matplotlib.colors import to_rgba  # noqa: PLC0415 (as above)

    return {"facecolor": to_rgba(COLORS[fill], _FILL) if fill else "none", "edgecolor": COLORS[edge]}
