"""Cards have the size that readers of links expect, and each page names its own and loads none."""

import re
from html import unescape
from io import BytesIO

import pytest
from PIL import Image
from site_tools import ROOT
from site_tools.built.cards import HEIGHT, WIDTH, card_path, draw, formula, tags
from site_tools.built.minify import slim
from site_tools.built.plain_markdown import address, config, html_path, sections

SITE = ROOT / "site"
PAGES = [page for group in sections().values() for page in group]


def test_a_card_is_a_small_png():
    png = draw("A title that is too long for one line", "Learn", "What it is about. " * 20, "$c^2$")
    with Image.open(BytesIO(png)) as card:
        assert (card.format, card.size) == ("PNG", (WIDTH, HEIGHT))
        ink = {color for _, color in card.convert("RGB").getcolors(maxcolors=1 << 16)}
    assert len(png) < 40_000
    assert min(sum(color) for color in ink) < 150  # there is writing on it


def test_what_is_drawn_differs_by_what_is_said():
    plain = draw("Title", "", "About.", "")
    assert plain == draw("Title", "", "About.", "")
    assert len({plain, draw("Other", "", "About.", ""), draw("Title", "", "About.", "$x$")}) == 3


def test_only_the_first_formula_counts_and_only_if_it_can_be_set():
    assert formula("text $$x$$ inside\n\n$$a_1 \\dots a_n$$\n\n$$b$$") == r"$a_1 \ldots a_n$"
    assert formula("$$\\unknowncommand$$\n\n$$b$$") == ""
    assert formula("```text\n$$x$$\n```") == ""


def test_tags_are_absolute_and_escaped():
    found = tags("learn/attention.md", 'A "title" & more', "About <it>.")
    content = {
        name: unescape(text) for name, text in re.findall(r'property="([\w:]+)" content="(.*?)"', found)
    }
    assert content["og:title"] == 'A "title" & more'
    assert content["og:image"] == f"{config()['site_url']}assets/cards/learn/attention.png"
    assert content["og:url"] == address("learn/attention.md")
    assert "<it>" not in found


@pytest.mark.parametrize("page", PAGES)
def test_each_page_names_its_card_and_does_not_load_it(page):
    html = (SITE / html_path(page)).read_text(encoding="utf-8")
    assert (SITE / card_path(page)).stat().st_size < 40_000
    assert html.count(card_path(page)) == 1
    assert f'property="og:image" content="{config()["site_url"]}{card_path(page)}"' in html
    description = re.search(r'<meta name="?description"? content="(.*?)"', html)
    assert description is not None
    assert 40 <= len(unescape(description[1])) <= 260
    assert f'<link rel="canonical" href="{address(page)}"' in html
    assert slim(html) == html
