"""A card for each page, which is what a link to it shows where it is shared, and the tags that name it.

The card has the page's title, its section, its description and, where there is one that matplotlib can set,
its first formula; beside them the causal mask that is also the logo. Nothing on the page loads it.

Examples::

    python -m site_tools.built.cards site   draw the cards of the site in a folder, and name each in its page
"""

import hashlib
import io
import multiprocessing
import os
import re
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from site_tools import CACHE, ROOT, write
from site_tools.built.plain_markdown import address, config, file_name, front_matter, html_path, sections
from site_tools.cells import labs
from site_tools.fences import prose_lines
from site_tools.links import title

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT = 1200, 630  # what https://ogp.me/ readers crop least
SHADES = 12  # of each color in the palette of the PNG: text and few flat areas need no more
_PAPER, _INK, _SOFT, _BLUE, _LINE = "#ffffff", "#1c2127", "#55606c", "#175a9c", "#dde2e7"
_MASK = 7  # tokens
_FORMULA = re.compile(r"^\$\$(.+?)\$\$$", re.MULTILINE | re.DOTALL)


def formula(body: str) -> str:
    r"""The first displayed formula of a page, if matplotlib's TeX can set it on one line.

    >>> formula("$$c^2$$"), formula("$$\\begin{aligned} a &= b \\end{aligned}$$")
    ('$c^2$', '')
    """
    from matplotlib.mathtext import MathTextParser  # noqa: PLC0415 (slow to import)

    first = _FORMULA.search("\n".join(prose_lines(body)))
    if first is None or len(first[1]) > 110:
        return ""
    tex = f"${' '.join(first[1].split())}$".replace(r"\dots", r"\ldots").replace(r"\text{", r"\mathrm{")
    try:
        MathTextParser("path").parse(tex)
    except ValueError:
        return ""
    return tex


def draw(title: str, section: str, description: str, tex: str) -> bytes:
    """The card as a PNG."""
    import matplotlib as mpl  # noqa: PLC0415 (slow to import)
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415 (comes with matplotlib)

    with mpl.rc_context({"font.family": "DejaVu Sans", "mathtext.fontset": "cm", "svg.fonttype": "path"}):
        card = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100, facecolor=_PAPER)
        axes = card.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
        axes.axis("off")
        _draw_mask(axes, left=890, top=80, side=230)
        axes.text(80, 100, "llmguide", fontsize=24, weight="bold", color=_BLUE, va="center")
        axes.text(250, 100, section, fontsize=24, color=_SOFT, va="center")
        lines = textwrap.wrap(title, 21)
        size = 40 if len(lines) < 3 else 32
        axes.text(
            80, 150, "\n".join(lines), fontsize=size, weight="bold", color=_INK, va="top", linespacing=1.15
        )
        about = textwrap.shorten(description, 150 if tex else 250, placeholder=" ...")
        about = "\n".join(textwrap.wrap(about, 66))
        axes.text(80, 330, about, fontsize=22, color=_SOFT, va="top", linespacing=1.4)
        if tex:
            written = axes.text(80, 552, tex, fontsize=30, color=_INK, va="center")
            written.set_fontsize(min(30, 30 * (WIDTH - 160) / written.get_window_extent().width))
        canvas = FigureCanvasAgg(card)
        canvas.draw()
    drawn = Image.frombuffer("RGBA", (WIDTH, HEIGHT), canvas.buffer_rgba())
    small = io.BytesIO()
    drawn.convert("RGB").quantize(palette=_palette(), dither=Image.Dither.NONE).save(small, format="png")
    return small.getvalue()


@cache
def _palette() -> "Image":
    """An image with the palette of all cards: shades from the paper to each color."""
    from PIL import Image as images  # noqa: N813, PLC0415 (comes with matplotlib)
    from PIL import ImageColor  # noqa: PLC0415

    image = images.new("P", (1, 1))
    paper = ImageColor.getrgb(_PAPER)
    image.putpalette(
        [
            round(channel + (full - channel) * shade / (SHADES - 1))
            for color in (_INK, _SOFT, _BLUE, _LINE)
            for shade in range(SHADES)
            for channel, full in zip(paper, ImageColor.getrgb(color), strict=True)
        ]
    )
    return image


def _draw_mask(axes: Any, *, left: float, top: float, side: float) -> None:
    """Rows are tokens that attend, columns those that they may see: the darker, the more of the weight."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415 (slow to import)

    cell = side / _MASK
    for row in range(_MASK):
        for column in range(_MASK):
            seen = column <= row
            strength = (column + 1) / (row + 1) if seen else 0.0
            x, y = left + column * cell, top + row * cell
            color, alpha = (_BLUE, 0.25 + 0.75 * strength**2) if seen else (_LINE, 0.6)
            square = Rectangle((x, y), 0.86 * cell, 0.86 * cell, color=color, alpha=alpha, linewidth=0)
            axes.add_artist(square)  # add_patch would also measure it, which takes longer than drawing it


def tags(page: str, title: str, description: str) -> str:
    """What readers of links look for in the head of a page."""
    site = config()["site_url"]
    properties = {
        "og:type": "website" if page == "index.md" else "article",
        "og:site_name": config()["site_name"],
        "og:title": title,
        "og:description": description,
        "og:url": address(page),
        "og:image": f"{site}{card_path(page)}",
        "og:image:width": str(WIDTH),
        "og:image:height": str(HEIGHT),
        "og:image:alt": f"{title}. {description}",
    }
    found = [f'<meta property="{name}" content="{escape(text)}">' for name, text in properties.items()]
    return "".join([*found, '<meta name="twitter:card" content="summary_large_image">'])


def card_path(page: str) -> str:
    """Where the card of a page stands in the site.

    >>> card_path("learn/attention.md")
    'assets/cards/learn/attention.png'
    """
    return f"assets/cards/{file_name(page).removesuffix('.md')}.png"


def _kept(parts: tuple[str, ...]) -> Path:
    """Where the card of a page is kept, by what is written on it and by what draws it."""
    own = Path(__file__).read_text(encoding="utf-8")
    key = hashlib.sha256("\0".join([*parts, own]).encode()).hexdigest()
    return CACHE / "cards" / f"{key}.png"


def _parts(section: str, page: str) -> tuple[str, str, str, str]:
    """What is written on the card of a page."""
    head, body = front_matter(labs.source(page))
    shown = "" if section == config()["site_name"] else section
    return title(body), shown, head["description"].strip(), formula(body)


def main(site: Path) -> None:
    """Draw what has changed, put all cards into the site, and name them in the pages."""
    cards = {page: _parts(section, page) for section, pages in sections().items() for page in pages}
    missing = [parts for parts in dict.fromkeys(cards.values()) if not _kept(parts).is_file()]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        drawn = pool.map(draw, *zip(*missing, strict=True), chunksize=8)
        for parts, png in zip(missing, drawn, strict=True):
            write(_kept(parts), png)
    for page, parts in cards.items():
        write(site / card_path(page), _kept(parts).read_bytes())
        path = site / html_path(page)
        html = path.read_text(encoding="utf-8")
        if 'property="og:image"' not in html:
            write(path, html.replace("</head>", f"{tags(page, parts[0], parts[2])}</head>", 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site")
