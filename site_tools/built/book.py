"""The guide as one PDF and one EPUB, from the built site: `python -m site_tools.built.book [SITE [FOLDER]]`.

The chapters, in the order of the navigation, become one HTML page: folded parts are opened, links between
chapters point inside the book, all others to the site. Chromium prints it with the site's own stylesheets;
pandoc makes the EPUB, with formulas in MathML and the figures in the colors of the light palette.
"""

import re
import sys
from base64 import b64encode
from copy import deepcopy
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urljoin

from lxml import html
from lxml.etree import SubElement
from lxml.html import HtmlElement
from playwright.sync_api import sync_playwright

from site_tools import DOCS, ROOT
from site_tools.browser import chromium
from site_tools.built import plain_markdown

LEFT_OUT = ("reference/", "parity.md", "play/")  # for use beside an editor or in a browser
GADGETS = ("md-content__button", "headerlink", "notebook-links")
A4_MARGIN: Any = {"top": "16mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
# lists take their indent from the direction of the text
EMPTY = '<html lang="en"><head><meta charset="utf-8"></head><body dir="ltr"></body></html>'
# HTML forgets the case of names; an SVG file by itself needs it
CAMEL_CASE = ("viewBox", "preserveAspectRatio", "clipPath", "linearGradient")
DATA_URL = "data:image/svg+xml;base64,"
FOOTER = '<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span></div>'


def prefix(place: str) -> str:
    """Start of the ids of a chapter.

    >>> prefix("learn/attention/"), prefix("")
    ('learn-attention', 'home')
    """
    return place.strip("/").replace("/", "-") or "home"


def chapter(article: HtmlElement, place: str, places: set[str], site_url: str) -> HtmlElement:
    """One article as a part of the book.

    Args:
        article: The main content of a page.
        place: Address of that page.
        places: Addresses of all pages in the book.
        site_url: Where links out of the book lead.
    """
    part = deepcopy(article)
    for name in GADGETS:
        for element in part.find_class(name):
            element.drop_tree()
    for element in [*part.iter("button", "script", "style", "form")]:
        element.drop_tree()
    for element in part.iter("details"):
        element.set("open", "")
    drawn = {element for svg in part.iter("svg") for element in svg.iter()}  # their ids name the page already
    for element in part.iter():
        if not isinstance(element.tag, str) or element in drawn:
            continue
        if "id" in element.attrib:
            element.set("id", f"{prefix(place)}--{element.get('id')}")
        for name in ("for", "name", "title", "aria-labelledby", "aria-describedby"):
            element.attrib.pop(name, None)
        if "src" in element.attrib:  # from the site's root, where the book is printed
            element.set("src", urljoin(site_url + place, element.get("src", "")).removeprefix(site_url))
        if "href" in element.attrib:
            element.set("href", _target(urljoin(site_url + place, element.get("href", "")), places, site_url))
    part.tag = "section"
    part.find("h1").set("id", prefix(place))
    return part


def _target(url: str, places: set[str], site_url: str) -> str:
    page, _, fragment = url.removeprefix(site_url).partition("#")
    if not url.startswith(site_url) or page not in places:
        return url
    return f"#{prefix(page)}--{fragment}" if fragment else f"#{prefix(page)}"


def book(site: Path) -> tuple[HtmlElement, list[str]]:
    """Join the chapters of a built site.

    Returns:
        One HTML document, and the stylesheets of the site, from its root.

    Raises:
        ValueError: A page of the navigation was not built.
    """
    config = plain_markdown.config()
    site_url = config["site_url"]
    pages = [page for page in plain_markdown.pages_of(config["nav"]) if not page.startswith(LEFT_OUT)]
    places = [plain_markdown.html_path(page).removesuffix("index.html") for page in pages]
    document = html.document_fromstring(EMPTY)
    SubElement(document.find("head"), "title").text = config["site_name"]
    styles: list[str] = []
    body = document.find("body")
    body.set("data-md-color-scheme", "default")
    for place in places:
        path = site / place / "index.html"
        if not path.is_file():
            raise ValueError(f"{path} is missing: build the site first, make site")
        tree = html.fromstring(path.read_bytes(), parser=html.HTMLParser(encoding="utf-8"))
        (article,) = tree.iter("article")
        body.append(chapter(article, place, {*places}, site_url))
        for link in tree.iter("link"):
            style = urljoin(site_url + place, link.get("href", "")).removeprefix(site_url)
            if link.get("rel") == "stylesheet" and style not in styles:
                styles.append(style)
    return document, styles


def for_epub(document: HtmlElement) -> str:
    """Keep of each formula its MathML, and make each figure an image in the colors of the light palette."""
    copy = deepcopy(document)
    for element in copy.find_class("katex-html"):
        element.drop_tree()
    for annotation in [*copy.iter("annotation")]:
        annotation.drop_tree()
    for name in copy.iter("mi"):
        if len(name.text or "") > 1:
            name.tag = "mo"  # or pandoc takes softmax for a product of seven letters
    for section in [*copy.iter("section")]:
        section.drop_tag()  # pandoc begins a file only at headings that nothing encloses
    css = (DOCS / "css" / "guide.css").read_text(encoding="utf-8")
    for svg in [*copy.iter("svg")]:
        drawing = with_colors(html.tostring(svg, encoding="unicode", with_tail=False), css)
        for name in CAMEL_CASE:
            drawing = drawing.replace(name.lower(), name)
        source = DATA_URL + b64encode(drawing.encode()).decode()
        image = html.Element("img", alt=svg.get("aria-label", ""), src=source)
        image.tail = svg.tail
        svg.getparent().replace(svg, image)
    return html.tostring(copy, encoding="unicode")


def with_colors(text: str, css: str) -> str:
    """Replace CSS variables by their first value in a stylesheet, which is that of the light palette.

    >>> with_colors("fill: var(--ink)", ":root { --ink: #111; } [dark] { --ink: #eee; }")
    'fill: #111'
    """
    values = dict(reversed(re.findall(r"(--[\w-]+):\s*([^;]+);", css)))
    while found := {name for name in re.findall(r"var\((--[\w-]+)\)", text) if name in values}:
        for name in found:
            text = text.replace(f"var({name})", values[name])
    return text


def write_pdf(document: HtmlElement, styles: list[str], site: Path, target: Path) -> None:
    """Print the book with Chromium, served from the site so that fonts and styles are found."""
    page_file = site / "book.html"
    printed = deepcopy(document)
    for style in styles:
        SubElement(printed.find("head"), "link", rel="stylesheet", href=style)
    extra = SubElement(printed.find("head"), "style")
    extra.text = (
        "html { font-size: 100% } section { break-before: page } section:first-child { break-before: auto }"
    )
    for section in printed.find("body"):
        section.set("class", "md-typeset")
    page_file.write_text("<!doctype html>" + html.tostring(printed, encoding="unicode"), encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/book.html", timeout=120_000)
            page.pdf(
                path=target, format="A4", margin=A4_MARGIN, outline=True, tagged=True,
                display_header_footer=True, header_template="<span></span>", footer_template=FOOTER,
            )  # fmt: skip
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
        page_file.unlink()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


def write_epub(document: HtmlElement, target: Path) -> None:
    """Make the EPUB with pandoc."""
    import pypandoc  # noqa: PLC0415  # 34 MB that only this needs

    config = plain_markdown.config()
    options = ["--mathml", "--toc", "--toc-depth=2", "--split-level=1", "--metadata=lang:en"]
    options += [f"--metadata=title:{config['site_name']}", f"--metadata=rights:{config['copyright']}"]
    pypandoc.convert_text(
        for_epub(document), "epub3", format="html", outputfile=str(target), extra_args=options
    )


def main() -> None:
    """Write ``guide.pdf`` and ``guide.epub``."""
    site = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else site / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    document, styles = book(site)
    write_pdf(document, styles, site, folder / "guide.pdf")
    write_epub(document, folder / "guide.epub")
    for name in ("guide.pdf", "guide.epub"):
        print(f"wrote {folder / name}, {(folder / name).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
