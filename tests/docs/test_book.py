"""The guide as PDF and EPUB: chapters joined, links inside, formulas and figures legible without the site."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from site_tools.built import book

PAGES = {
    "": '<h1 id="top">Start</h1><p><a href="learn/one/#part">in</a> <a href="reference/x/">out</a></p>',
    "learn/one/": (
        '<h1 id="one">One<a class="headerlink" href="#one">¶</a></h1><h2 id="part">Part</h2>'
        "<details><summary>Why</summary><p>Hidden.</p></details><button>Copy</button>"
        '<p><span class="katex"><span class="katex-mathml"><math><semantics>'
        '<mrow><mi mathvariant="normal">log</mi><mo>&#8289;</mo><mi>x</mi></mrow>'
        '<annotation>x</annotation></semantics></math></span><span class="katex-html">x</span></span></p>'
        '<svg viewBox="0 0 4 3" role="img" aria-label="A dot.">'
        '<defs><circle id="learn-one-dot" r="1" style="fill: var(--figure-ink)"/></defs>'
        '<use xlink:href="#learn-one-dot"/></svg>'
        '<p><a href="../../">home</a> <a href="https://example.org/a">abroad</a></p>'
    ),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config: dict[str, Any] = {
        "site_name": "A guide",
        "site_url": "https://guide.example/",
        "copyright": "free",
        "nav": ["index.md", {"Learn": ["learn/one.md"]}, {"Reference": ["reference/x.md"]}],
    }
    monkeypatch.setattr(book.plain_markdown, "config", lambda: config)
    for place, body in PAGES.items():
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        head = f'<link rel="stylesheet" href="{"../../" if place else ""}a.css">'
        page = f"<html><head>{head}</head><body><article>{body}</article></body></html>"
        (tmp_path / place / "index.html").write_text(page, encoding="utf-8")
    (tmp_path / "a.css").write_text("h1 { color: green }", encoding="utf-8")
    return tmp_path


def test_chapters_are_joined_and_links_lead_inside_or_to_the_site(site: Path) -> None:
    document, styles = book.book(site)
    assert styles == ["a.css"]
    assert [h1.get("id") for h1 in document.iter("h1")] == ["home", "learn-one"]
    assert [a.get("href") for a in document.iter("a")] == [
        "#learn-one--part",
        "https://guide.example/reference/x/",
        "#home",
        "https://example.org/a",
    ]
    ids = {element.get("id") for element in document.iter() if isinstance(element.tag, str)}
    assert "learn-one--part" in ids
    assert {use.get("xlink:href") for use in document.iter("use")} <= {f"#{name}" for name in ids}
    assert not list(document.iter("button"))
    assert [details.get("open") for details in document.iter("details")] == [""]


def test_a_page_that_was_not_built_is_named(site: Path) -> None:
    (site / "learn/one/index.html").unlink()
    with pytest.raises(ValueError, match=r"learn/one/index\.html is missing"):
        book.book(site)


def test_the_epub_has_chapters_formulas_and_figures(site: Path) -> None:
    document, _ = book.book(site)
    book.write_epub(document, site / "guide.epub")
    with zipfile.ZipFile(site / "guide.epub") as archive:
        names = archive.namelist()
        text = "".join(archive.read(name).decode() for name in names if name.endswith(".xhtml"))
        (drawing,) = [archive.read(name).decode() for name in names if name.endswith(".svg")]
    assert sum("/ch0" in name for name in names) == 2
    assert "<math" in text
    assert ">log</mi>" in text
    assert "Hidden." in text
    assert 'alt="A dot."' in text
    assert "viewBox" in drawing
    assert "var(" not in drawing


def test_the_pdf_has_pages_and_an_outline(site: Path) -> None:
    document, styles = book.book(site)
    with ThreadPoolExecutor() as threads:  # Playwright allows one browser session a thread
        threads.submit(book.write_pdf, document, styles, site, site / "guide.pdf").result()
    content = (site / "guide.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"/Outlines" in content
    assert content.count(b"/Type /Page\n") == 2  # a chapter begins a page
    assert not (site / "book.html").exists()


def test_colors_are_those_of_the_light_palette() -> None:
    drawing = html.fragment_fromstring('<svg style="fill: var(--figure-ink)"></svg>')
    css = (book.DOCS / "css" / "guide.css").read_text(encoding="utf-8")
    assert "#1c2127" in book.with_colors(html.tostring(drawing, encoding="unicode"), css)
