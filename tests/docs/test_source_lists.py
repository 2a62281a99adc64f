"""``@sources`` with and without names."""

import pytest
from markdown import markdown
from site_tools.content.bibliography import cited, source_list, work

PAGE = "[@vaswani2017]\n\n@sources brown2020 devlin2018\n\n@sources\n"


def test_named_works_come_in_the_order_given():
    lines = source_list(PAGE, " devlin2018 brown2020").splitlines()
    assert lines == [f"- {work('devlin2018').markdown}", f"- {work('brown2020').markdown}"]


def test_without_names_it_lists_what_was_cited_and_not_listed():
    assert source_list(PAGE, "") == f"- {work('vaswani2017').markdown}"


def test_named_works_count_as_cited():
    assert cited(PAGE) == ["vaswani2017", "brown2020", "devlin2018"]


def test_a_page_shows_both_lists():
    html = markdown(PAGE, extensions=["site_tools.markdown.citations"])
    assert html.count("<li>") == 3
    assert "@sources" not in html


def test_unknown_and_absent_works_are_reported():
    with pytest.raises(ValueError, match="unknown citation @nobody1900"):
        source_list("", "nobody1900")
    with pytest.raises(ValueError, match="the page cites nothing"):
        source_list("Text.", "")
