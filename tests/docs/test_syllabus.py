"""Every topic of the syllabus is covered at its address."""

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
from lxml import html
from markdown import markdown
from site_tools import DOCS, GENERATED, ROOT
from site_tools.content import bibliography
from site_tools.links import headings

TABLES = tomllib.loads(Path(__file__).with_name("syllabus.toml").read_text(encoding="utf-8"))
ITEMS = [
    pytest.param(*place, id=f"{part}: {item}")
    for name in ("syllabus_items.toml", "project_items.toml")
    for part, table in tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8")).items()
    for item, place in table.items()
]
PLACES = [(chapter, topic, place) for chapter, table in TABLES.items() for topic, place in table.items()]


@cache
def text(page):
    """A page, also one that the build has yet to write."""
    return bibliography.render() if page == "bibliography.md" else (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(("chapter", "topic", "place"), PLACES)
def test_covered(chapter, topic, place):
    page, _, anchor = place.partition("#")
    assert page in GENERATED or (DOCS / page).is_file(), f"{chapter}: {topic}: there is no page {page}"
    assert anchor in headings(text(page)), f"{chapter}: {topic}: {page} has no heading with the id {anchor!r}"


def section(page, anchor):
    """A heading and what follows it, up to the next heading that is not below it."""
    levels, found = [(len(line) - len(line.lstrip("#")), line) for line in text(page).split("\n")], []
    ids = iter(headings(text(page)))
    depth, fence = 0, ""
    for level, line in levels:
        mark = re.match(r" *(`{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = ""
        if level and not fence and line[level] == " ":
            name = next(ids)
            if depth and level <= depth:
                break
            depth = level if name == anchor else depth
        if depth:
            found.append(line)
    return "\n".join(found)


@pytest.mark.parametrize(("place", "words"), ITEMS)
def test_item_is_in_its_section(place, words):
    page, _, anchor = place.partition("#")
    assert words in (section(page, anchor) if anchor else (ROOT / page).read_text(encoding="utf-8"))


def test_old_anchors_of_the_concepts_chapter_lead_to_the_new_places():
    source = (DOCS / "learn/concepts.md").read_text(encoding="utf-8")
    page = html.fromstring(markdown(source, extensions=["attr_list", "site_tools.markdown.terms"]))
    pointers = {link.get("id"): link.get("href") for link in page.iterfind(".//li/a[@id]")}
    assert len(pointers) == source.count("{ #") >= 30
    for anchor, href in pointers.items():
        target, _, fragment = href.partition("#")
        assert fragment == anchor
        assert anchor in headings((DOCS / "learn" / target).read_text(encoding="utf-8"))
