"""Each project page has at most 2,500 words, not counting tables, code, exercises and the appendix."""

import re

import pytest
from site_tools import DOCS
from site_tools.fences import COMPUTED, prose_lines

MOST = 2500
PAGES = [path for path in sorted((DOCS / "projects").glob("*.md")) if path.stem != "index"]


def words(text):
    """The words of a page's paragraphs and lists."""
    text = re.sub("<!-- output -->.*?<!-- /output -->", "", text.split("---\n", 2)[2], flags=re.DOTALL)
    lines = [line for line in prose_lines(text) if not line.lstrip().startswith(("|", "@", "!["))]
    read = re.split(r"(?m)^## (?=Exercises|Appendix)", "\n".join(lines))[0]
    addresses = r"\]\[[^]]*\]|\]\([^)]*\)|\[@[^]]*\]"
    return re.findall(r"\S*\w\S*", re.sub(addresses, "", COMPUTED.sub("1", read)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_project_page_is_short(page):
    n = len(words(page.read_text(encoding="utf-8")))
    assert n <= MOST, f"{page.name}: {n} words; move trials to the appendix"
