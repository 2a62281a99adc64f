"""The file for Anki: read as Anki reads it, it has every question and exercise."""

import csv
import re

import pytest
from lxml import html
from site_tools import DOCS
from site_tools.built.plain_markdown import config
from site_tools.content import anki
from site_tools.content.course import course
from site_tools.content.quiz import chapters
from site_tools.links import ids


@pytest.fixture(scope="module")
def rows():
    lines = anki.text().splitlines()
    head = dict(line.removeprefix("#").split(":", 1) for line in lines if line.startswith("#"))
    assert head["separator"] == "tab"
    assert head["html"] == "true"
    assert head["deck"] == "llmguide"
    names = head["columns"].split("\t")
    assert (names[int(head["guid column"]) - 1], names[int(head["tags column"]) - 1]) == ("id", "tags")
    return [
        dict(zip(names, row, strict=True))
        for row in csv.reader(lines[len(head) :], delimiter="\t", strict=True)
    ]


def test_every_item_is_one_card_on_one_line(rows):
    assert sorted(row["id"] for row in rows) == sorted(
        item for chapter in course() for item in chapter["items"]
    )


def test_a_card_has_question_answer_explanation_and_a_link_that_leads_somewhere(rows):
    for row in rows:
        front, back = (
            html.fragment_fromstring(row[name], create_parent="div") for name in ("question", "answer")
        )
        assert front.text_content().strip(), row["id"]
        assert back.xpath(".//li[normalize-space()]"), row["id"]
        address = back.xpath(".//a/@href")[-1]
        assert address.startswith(config()["site_url"]), row["id"]
        page, _, anchor = address.removeprefix(config()["site_url"]).partition("/#")
        (path,) = [path for path in (DOCS / f"{page}.md", DOCS / page / "index.md") if path.is_file()]
        assert anchor in ids(path.read_text(encoding="utf-8")), row["id"]
        assert re.fullmatch(r"llmguide::[a-z-]+", row["tags"])


def test_the_right_choice_comes_first_and_is_named(rows):
    cards = {row["id"]: row for row in rows}
    for question in (question for chapter in chapters() for question in chapter.questions):
        back = html.fragment_fromstring(cards[question.id]["answer"], create_parent="div")
        if question.kind != "order":
            assert back.find(".//li").findtext("strong", "").startswith("Right"), question.id


def test_formulas_are_what_anki_gives_to_mathjax(rows):
    shown = [re.sub(r"<code>.*?</code>", "", row["question"] + row["answer"]) for row in rows]
    assert sum(text.count(r"\(") for text in shown) > 100
    for text in shown:
        assert text.count(r"\(") == text.count(r"\)"), text
        assert not re.search(r"formula\d+end", text), text
    assert r"\(n = 6\)" in next(row["question"] for row in rows if row["id"] == "introduction-ngram")
