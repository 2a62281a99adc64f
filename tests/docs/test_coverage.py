"""Every heading, list and table of the older text has its place in this guide, or is known to lack one."""

import tomllib
import warnings
from pathlib import Path

import pytest
from lxml import html
from markdown import markdown
from tools import DOCS, GENERATED, bibliography
from tools.errata import headings

TABLES = tomllib.loads(Path(__file__).with_name("coverage.toml").read_text(encoding="utf-8"))
PENDING = TABLES.pop("pending", {})
PLACES = [(chapter, old, place) for chapter, table in TABLES.items() for old, place in table.items()]
WAITING = [(chapter, old, page) for chapter, table in PENDING.items() for old, page in table.items()]


def text(page):
    """A page, also one that the build has yet to write."""
    return bibliography.render() if page == "bibliography.md" else (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(("chapter", "old", "place"), PLACES)
def test_covered(chapter, old, place):
    page, _, anchor = place.partition("#")
    assert page in GENERATED or (DOCS / page).is_file(), f"{chapter}: {old}: there is no page {page}"
    assert anchor in headings(text(page)), f"{chapter}: {old}: {page} has no heading with the id {anchor!r}"


def test_what_is_pending_has_no_page_yet():
    arrived = {page for _, _, page in WAITING if list(DOCS.glob(page))}
    assert not arrived, f"move what waits for {', '.join(sorted(arrived))} to its chapter, with anchors"
    if WAITING:
        warnings.warn(f"{len(WAITING)} parts of the older text wait for their pages", stacklevel=1)


def test_each_part_stands_once():
    parts = [(chapter, old) for chapter, old, _ in PLACES + WAITING]
    assert len(parts) == len(set(parts))


def test_old_anchors_of_the_concepts_chapter_lead_to_the_new_places():
    source = (DOCS / "learn/concepts.md").read_text(encoding="utf-8")
    page = html.fromstring(markdown(source, extensions=["attr_list", "tools.markdown.terms"]))
    pointers = {link.get("id"): link.get("href") for link in page.iterfind(".//li/a[@id]")}
    assert len(pointers) == source.count("{ #") >= 30
    for anchor, href in pointers.items():
        target, _, fragment = href.partition("#")
        assert fragment == anchor
        assert anchor in headings((DOCS / "learn" / target).read_text(encoding="utf-8"))
