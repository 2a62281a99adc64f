"""Draw figures in the style of the guide, as small SVG drawings.

Colors are written as sentinels (``INK``, ``ACCENTS`` ...) and replaced by CSS variables, so that one drawing
serves the light and the dark palette of the site. Elsewhere the values of the light palette apply. A figure
is about as wide as a phone, so that its text is never smaller than 11 px there.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from llmguide.extras import import_extra
from llmguide.pages.display import show, show_svg

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
# Values of the light palette, which are those of docs/css/guide.css.
_LIGHT = {
    "--figure-ink": "#1c2127",
    "--figure-muted": "#55606c",
    "--figure-grid": "#dde2e7",
    "--figure-surface": "#fff",
    "--figure-accent": "#1d64ad",
    "--figure-accent-2": "#b1471c",
    "--figure-accent-3": "#2b7a4b",
    "--figure-accent-4": "#8449a0",
    "--figure-accent-5": "#846500",
}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_PHONE = 328  # width in px that a 360 px wide screen leaves for text
_SMALLEST = 11.5  # px of the text there
_HEAVIEST = 0.5  # opacity of a heatmap's largest cell: ink on it stays legible in both palettes


def figure(
    name: str, *, alt: str, caption: str = "", width: int = 400, height: int = 260
) -> "AbstractContextManager[tuple[Figure, Axes]]":
    """Draw on the figure and axes that this yields; on leaving, show the drawing and its caption.

    In a notebook the drawing is displayed, elsewhere it is saved as ``NAME.svg`` in the current folder.

    Args:
        name: Name of the drawing, without a suffix.
        alt: Description of the figure for readers who do not see it.
        caption: Text under the figure, in Markdown.
        width: Width in px. The text grows with it, so that it is legible when a phone shrinks the figure.
        height: Height in px.

    Raises:
        ValueError: The description is empty or has a bracket or line break, a color is not from the palette,
            or the figure holds a bitmap.
    """

    def done(svg: str) -> None:
        show_svg(in_light_palette(svg), name=name, alt=alt)
        if caption:
            show(caption)

    return drawing(name, alt=alt, width=width, height=height, done=done)


@contextmanager
def drawing(
    name: str, *, alt: str, width: int, height: int, done: Callable[[str], None]
) -> Iterator[tuple["Figure", "Axes"]]:
    """Yield a figure and axes; on leaving, pass the drawing to a function.

    Args:
        name: Name that is unique among the drawings of the site, such as ``"learn/attention/weights"``.
        alt: Description of the figure for readers who do not see it.
        width: Width in px.
        height: Height in px.
        done: Function that is called with the SVG, whose colors are CSS variables.

    Raises:
        ValueError: As `figure` raises it.
    """
    if not alt.strip():
        raise ValueError(f"the figure {name!r} needs an alt text that says what it shows")
    if set(alt) & set("[]\n"):
        raise ValueError(f"the alt text of {name!r} holds a bracket or a line break, which would end it")
    # imported here because it is slow, and the palette above needs none of it
    mpl = import_extra("matplotlib", "pages", "a figure")
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context({**style(width), "svg.hashsalt": name}):
        canvas = Figure(figsize=(width / 72, height / 72), layout="constrained")
        yield canvas, canvas.add_subplot()
        drawn = io.StringIO()
        canvas.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    done(tidy(drawn.getvalue(), prefix=name.replace("/", "-"), alt=alt))


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
        axes: Axes to draw on.
        values: Two-dimensional tensor, array or nested list of numbers that are not negative.
        rows: Headings of the rows.
        columns: Headings of the columns.
        fmt: Format of the numbers, such as ``".2f"``.
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
    """Return matplotlib's settings for a figure.

    Args:
        width: Width of the figure in px.
    """
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


def in_light_palette(svg: str) -> str:
    """Replace the CSS variables of a drawing by the colors of the light palette, on white.

    Args:
        svg: SVG source as `tidy` returns it.
    """
    for variable, value in _LIGHT.items():
        svg = svg.replace(f"var({variable})", value)
    return svg.replace('style="', 'style="background: white; ', 1)


def tidy(svg: str, *, prefix: str, alt: str) -> str:
    """Turn matplotlib's SVG into one that can be part of an HTML page.

    Args:
        svg: SVG source that matplotlib wrote.
        prefix: Beginning of each id, so that ids are unique among the figures of a page.
        alt: Description of the figure, which becomes its accessible name.

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
