"""Every topic of the syllabus is covered at its address."""

import tomllib
from pathlib import Path

import pytest
from lxml import html
from markdown import markdown
from site_tools import DOCS, GENERATED, ROOT
from site_tools.content import bibliography
from site_tools.links import headings

TABLES = tomllib.loads(Path(__file__).with_name("syllabus.toml").read_text(encoding="utf-8"))
ITEMS = tomllib.loads(Path(__file__).with_name("project_items.toml").read_text(encoding="utf-8"))
PLACES = [(chapter, topic, place) for chapter, table in TABLES.items() for topic, place in table.items()]


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
    depth, fenced = 0, False
    for level, line in levels:
        fenced ^= line.lstrip().startswith("```")
        if level and not fenced and line[level] == " ":
            name = next(ids)
            if depth and level <= depth:
                break
            depth = level if name == anchor else depth
        if depth:
            found.append(line)
    return "\n".join(found)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        pytest.param(*place, id=f"{part}: {item}")
        for part, table in ITEMS.items()
        for item, place in table.items()
    ],
)
def test_item_of_a_project_is_in_its_section(place, words):
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
