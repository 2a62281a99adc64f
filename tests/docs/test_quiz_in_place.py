"""Quiz items in the running text: each page has its own, below the section that answers them."""

import json
import re

import pytest
from lxml import html
from markdown import markdown
from site_tools import DOCS
from site_tools.built.plain_markdown import sections, twin
from site_tools.cells import labs
from site_tools.content.course import course
from site_tools.content.quiz import chapters, item
from site_tools.fences import prose_lines
from site_tools.links import headings
from site_tools.markdown.quiz import LINE, in_place

CHAPTERS = sections()["Learn"]
PROJECTS = [
    page for page in sections()["Projects"] if page.endswith(".md") and not page.endswith("/index.md")
]
ITEMS = {question.id: question for chapter in chapters() for question in chapter.questions}


def placed(page):
    """The ids of the items on a page, each with the anchors of the headings that it is below."""
    names = iter(headings((DOCS / page).read_text(encoding="utf-8")))
    above, found = [], {}
    for line in prose_lines((DOCS / page).read_text(encoding="utf-8")):
        if marks := re.match("#+ ", line):
            level = len(marks[0]) - 1
            above = [*above[: level - 1], next(names)]
        elif match := LINE.match(line):
            assert match["name"] not in found
            found[match["name"]] = set(above)
    return found


@pytest.mark.parametrize("page", [*CHAPTERS, *PROJECTS])
def test_a_page_has_two_or_three(page):
    assert 2 <= len(placed(page)) <= 3


@pytest.mark.parametrize("page", [*CHAPTERS, *PROJECTS])
def test_an_item_is_in_the_section_that_answers_it(page):
    for name, above in placed(page).items():
        see, _, anchor = ITEMS[name].see.partition("#")
        assert see == page, name
        assert anchor in above, name


@pytest.mark.parametrize("page", [*CHAPTERS, *PROJECTS])
def test_no_page_asks_by_hand_what_an_item_in_place_asks(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    asked = {re.sub(r"\W+", " ", ITEMS[name].variants[0].text).strip().lower() for name in placed(page)}
    boxes = re.findall(r'^\?\?\? question "(?:\d+\. )?(.*)"$', text, re.MULTILINE)
    assert not asked & {re.sub(r"\W+", " ", box).strip().lower() for box in boxes}


def test_progress_counts_an_item_on_the_page_that_answers_it():
    items = {f"{chapter['page']}.md": chapter["items"] for chapter in course()}
    for page in [*CHAPTERS, *PROJECTS]:
        assert placed(page).keys() <= items[page].keys()


def test_an_item_has_what_the_script_and_a_reader_without_it_need():
    extensions = ["md_in_html", "pymdownx.superfences", "site_tools.markdown.quiz"]
    for kind in ("single", "multiple", "numeric", "order", "output"):
        question = next(question for question in ITEMS.values() if question.kind == kind)
        box = html.fragment_fromstring(markdown(f"@quiz {question.id}\n", extensions=extensions))
        assert box.classes == {"quiz", "in-place"}
        assert "data-chapter" not in box.attrib  # has no score of its own
        (shown,) = box.xpath(f"./div[@id='{question.id}']/div")
        choices = shown.xpath("./ol/li | ./ul/li")
        assert len(choices) == (0 if kind == "numeric" else len(question.variants[0].choices))
        answer = json.loads(shown.get("data-answer"))
        if kind == "numeric":
            assert answer[0] == float(question.variants[0].answer)
        elif kind != "order":
            assert answer == [i for i, choice in enumerate(question.variants[0].choices) if choice.right]
        (details,) = shown.xpath("./details")
        assert details.xpath(".//li"), kind
        assert "open" not in details.attrib


def test_the_plain_form_of_a_page_has_question_choices_and_folded_answer():
    text = twin(labs.source("learn/transformer.md"), "learn/transformer.md")
    assert "@quiz" not in text
    question = item("transformer-exchange")
    after = text[text.index(question.variants[0].text) :]
    for choice in question.variants[0].choices:
        assert f"1. {choice.text}\n" in after
    folded = after[after.index("<summary>Answer</summary>") : after.index("</details>")]
    assert all(choice.why in folded for choice in question.variants[0].choices)


def test_an_unknown_item_is_named_with_the_one_that_is_meant():
    with pytest.raises(ValueError, match="no quiz item attention-cats; did you mean attention-cat"):
        in_place("attention-cats")
