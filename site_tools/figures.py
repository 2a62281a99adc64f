"""Draw figures in the house style, as small SVG files that follow the reader's palette.

Colors are written as sentinels (``INK``, ``ACCENTS`` ...) and replaced by CSS variables in the file, so that
one file serves light and dark. A figure is about as wide as a phone, so that its text is never smaller than
11 px there.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from site_tools import DOCS, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, SURFACE = "#000001", "#000002", "#000003", "#000004"
ACCENTS = ("#000011", "#000012", "#000013", "#000014", "#000015")
VARIABLES = {
    INK: "--figure-ink",
    MUTED: "--figure-muted",
    GRID: "--figure-grid",
    SURFACE: "--figure-surface",
    ACCENTS[0]: "--figure-accent",
    **{color: f"--figure-accent-{index}" for index, color in enumerate(ACCENTS[1:], start=2)},
}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_PHONE = 328  # width in px that a 360 px wide screen leaves for text
_SMALLEST = 11.5  # px of the text there
_HEAVIEST = 0.5  # opacity of a heatmap's largest cell: ink on it stays legible in both palettes


@contextmanager
def figure(
    name: str,
    *,
    page: str,
    alt: str,
    caption: str = "",
    width: int = 400,
    height: int = 260,
) -> Iterator[tuple["Figure", "Axes"]]:
    """Draw on the figure and axes that this yields; on leaving, save the SVG and print its Markdown.

    Args:
        name: File name without ending; unique on its page.
        page: Page under docs/ without ending, such as ``"learn/attention"``. Fences need not give it.
        alt: What the figure shows, for those who do not see it.
        caption: Text under the figure; Markdown.
        width: Width in px. The text grows with it, so that it is legible when a phone shrinks the figure.
        height: Height in px.
    """
    if not alt.strip():
        raise ValueError(f"the figure {name!r} needs an alt text that says what it shows")
    if set(alt) & set("[]\n"):
        raise ValueError(f"the alt text of {name!r} holds a bracket or a line break, which would end it")
    import matplotlib as mpl  # noqa: PLC0415 (slow to import, and the palette above needs none of it)
    from matplotlib.figure import Figure  # noqa: PLC0415

    settings: dict[Any, Any] = {**style(width), "svg.hashsalt": f"{page}/{name}"}
    with mpl.rc_context(settings):
        drawing = Figure(figsize=(width / 72, height / 72), layout="constrained")
        yield drawing, drawing.add_subplot()
        drawn = io.StringIO()
        drawing.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    svg = tidy(drawn.getvalue(), prefix=f"{page}/{name}".replace("/", "-"), alt=alt)
    write(DOCS / "assets" / "figures" / page / f"{name}.svg", svg)
    up = "../" * page.count("/")
    print(f"![{alt}]({up}assets/figures/{page}/{name}.svg)")
    if caption:
        print(f"\nFigure: {caption}")


def heatmap(
    axes: "Axes",
    values: Any,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    fmt: str = ".2f",
) -> None:
    """Draw a matrix as cells whose opacity grows with the value, with the number in each.

    Args:
        axes: Where to draw.
        values: Two-dimensional tensor, array or nested list of numbers that are not negative.
        rows: One heading a row.
        columns: One heading a column.
        fmt: Format of the numbers.
    """
    numbers = values.tolist() if hasattr(values, "tolist") else values
    largest = max(max(row) for row in numbers) or 1.0
    for y, row in enumerate(numbers):
        for x, value in enumerate(row):
            opacity = _HEAVIEST * max(value, 0.0) / largest
            axes.fill(
                [x, x + 1, x + 1, x], [y, y, y + 1, y + 1], color=ACCENTS[0], alpha=opacity, linewidth=0
            )
            axes.text(x + 0.5, y + 0.5, format(value, fmt), ha="center", va="center", color=INK)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.set_xticks([x + 0.5 for x in range(len(columns))], columns)
    axes.set_yticks([y + 0.5 for y in range(len(rows))], rows)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def style(width: int) -> dict[str, Any]:
    """Return matplotlib's settings for a figure of this width in px."""
    from cycler import cycler  # noqa: PLC0415 (comes with matplotlib)

    size = _SMALLEST * max(width / _PHONE, 1.0)
    return {
        "axes.edgecolor": MUTED,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=ACCENTS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlesize": size,
        "font.size": size,
        "figure.facecolor": "none",
        "grid.color": GRID,
        "legend.fontsize": size,
        "legend.frameon": False,
        "axes.labelsize": size,
        "lines.linewidth": 2,
        "patch.edgecolor": SURFACE,
        "svg.fonttype": "none",
        "text.color": INK,
        "text.hinting": "no_hinting",  # a text is as wide in the tab's build of FreeType as in ours
        "xtick.color": MUTED,
        "xtick.labelcolor": INK,
        "xtick.labelsize": size,
        "ytick.color": MUTED,
        "ytick.labelcolor": INK,
        "ytick.labelsize": size,
    }


def tidy(svg: str, *, prefix: str, alt: str) -> str:
    """Turn matplotlib's SVG into one that can stand inside a page.

    Args:
        svg: What matplotlib wrote.
        prefix: Makes ids unique among the figures of a page.
        alt: Becomes the accessible name.

    Raises:
        ValueError: A color is not from the house palette, or the figure holds a bitmap.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)
    _drop_metadata(root)
    width = float(root.attrib["viewBox"].split()[2])
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib |= {
        "role": "img",
        "aria-label": alt,
        "style": f"width: {width * 1.15:.0f}px; max-width: 100%; stroke-linejoin: round",
    }
    _rename_ids(root, prefix)
    for element in root.iter():
        if element.tag == f"{{{_SVG}}}image":
            raise ValueError(f"{prefix}: the figure holds a bitmap; draw vector cells, as heatmap() does")
        if "style" in element.attrib and element is not root:
            element.attrib["style"] = _css(element.attrib["style"], prefix)
        if "d" in element.attrib:
            element.attrib["d"] = _short(element.attrib["d"])
    text = ElementTree.tostring(root, encoding="unicode")
    text = re.sub(r"\s*\n\s*|(?<=>)\s+(?=<)", "", text)
    text = re.sub(r'transform="rotate\(-0 [^"]*"', "", text)
    return re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", text) + "\n"


def _short(path: str) -> str:
    """A path of straight lines in tenths of a px, each point seen from the one before: half the bytes.

    >>> _short("M 10 20.04 L 12.5 20.04 L 12.5 10 z")
    'M10 20l2.5 0l0 -10z'
    """
    if re.search(r"[^MLz\d.\s-]", path):
        return path
    x = y = 0
    parts = []
    for command, numbers in re.findall(r"([MLz])([\d.\s-]*)", path):
        if command == "z":
            parts.append("z")
            continue
        x_new, y_new = (round(10 * float(number)) for number in numbers.split())
        left, top = (0, 0) if command == "M" else (x, y)
        parts.append(f"{command if command == 'M' else 'l'}{(x_new - left) / 10:g} {(y_new - top) / 10:g}")
        x, y = x_new, y_new
    return "".join(parts)


def _drop_metadata(root: ElementTree.Element) -> None:
    """Remove metadata, and the style sheet that would apply to the whole page."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                parent.remove(child)


def _rename_ids(root: ElementTree.Element, prefix: str) -> None:
    """Prefix the ids that something refers to, and drop the others.

    Links stay ``xlink:href``: instant navigation assigns to ``href`` of whatever has one, and SVG refuses.
    """
    link = f"{{{_XLINK}}}href"
    used = set(re.findall(r"#([\w-]+)", ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        identifier = element.attrib.pop("id", None)
        if identifier in used:
            element.set("id", f"{prefix}-{identifier}")
        if link in element.attrib:
            element.set(link, f"#{prefix}-{element.attrib[link][1:]}")
        if "clip-path" in element.attrib:
            element.set("clip-path", element.attrib["clip-path"].replace("#", f"#{prefix}-"))


def _css(style: str, prefix: str) -> str:
    style = re.sub(r" ?font-family: [^;]*;?", "", style)  # the page's own font
    for color, variable in VARIABLES.items():
        style = style.replace(color, f"var({variable})")
    if foreign := re.search(r"#[0-9a-f]{6}", style):
        raise ValueError(
            f"{prefix}: the color {foreign[0]} is not in the palette; use INK, MUTED, GRID or ACCENTS[i]"
        )
    return style
