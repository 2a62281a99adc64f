"""Exercises in pages: each stands in its chapter, with a solution that passes."""

import re

import pytest
from lxml import html
from markdown import Markdown
from site_tools import DOCS
from site_tools.built.plain_markdown import twin
from site_tools.content.exercises import placed, render
from site_tools.markdown import exercises as extension
from site_tools.markdown.exercises import rendered

from llmguide.exercises import exercise, exercises
from llmguide.exercises.checking import check
from llmguide.exercises.ladder import EXERCISES as LADDER

EXTENSIONS = [
    "attr_list",
    "md_in_html",
    "pymdownx.details",
    "pymdownx.highlight",
    "pymdownx.superfences",
    "site_tools.markdown.exercises",
]


def convert(text):
    return html.fragment_fromstring(Markdown(extensions=EXTENSIONS).convert(text), create_parent="div")


def code_of(name, kind):
    (block,) = convert(f"@exercise {name}").find_class(kind)
    return block.find(".//code").text_content()


@pytest.mark.parametrize("name", exercises())
def test_the_solution_that_a_page_shows_passes(name):
    shown = code_of(name, "success")
    imports = code_of(name, "stub").partition("\n\n\ndef ")[0]
    assert check(name, shown if imports.startswith("def ") else f"{imports}\n{shown}").passed


@pytest.mark.parametrize("name", exercises())
def test_the_code_to_complete_runs_and_does_not_pass(name):
    found = check(name, code_of(name, "stub"))
    assert not found.passed
    assert "defines no function" not in str(found)
    assert "the code raises" not in str(found)


def test_an_exercise_is_complete_without_scripts():
    page = convert("Before.\n\n@exercise rope\n\nAfter.")
    block = page.get_element_by_id("exercise-rope")
    assert block.xpath("p/code")[0].text == "rope(x, theta)"
    assert "theta ** (-2 i / E)" in block.find("p").text_content()
    folded = block.xpath("details[not(@open)]")
    assert [fold.findtext("summary") for fold in folded] == ["Hint", "Hint", "Hint", "Solution"]
    assert [fold.findtext("p") for fold in folded[:3]] == list(exercise("rope").hints)
    assert code_of("rope", "stub") == "import torch\n\n\ndef rope(x, theta):\n    ...\n"
    assert page.findall("p")[-1].text == "After."


def test_text_of_an_exercise_is_no_markup():
    task = convert("@exercise expert-params").get_element_by_id("exercise-expert-params").find("p")
    assert task.text_content().endswith(exercise("expert-params").task.replace("`", ""))


def test_a_name_in_code_stays():
    assert "@exercise rope" in convert("```\n@exercise rope\n```\n").text_content()


def test_an_unknown_exercise_fails_the_build():
    with pytest.raises(ValueError, match="no exercise is named 'roped'"):
        convert("@exercise roped")


def test_an_exercise_without_a_solution_fails_the_build(monkeypatch, tmp_path):
    monkeypatch.setattr(extension, "ANSWERS", tmp_path)
    extension._answers.cache_clear()
    with pytest.raises(ValueError, match="no file in docs/_data/answers defines rope"):
        rendered(exercise("rope"))
    extension._answers.cache_clear()


# ---- where they stand ------------------------------------------------------------------------------------


def test_each_exercise_stands_in_one_chapter_or_on_the_ladder():
    rungs = re.findall(r"^@exercise (.+)$", render(), re.MULTILINE)
    assert rungs == [found.name for found in LADDER]
    assert sorted([*rungs, *(name for names in placed().values() for name in names)]) == sorted(exercises())


def test_the_list_links_to_each_where_it_stands():
    links = re.findall(r"^- \[`(\w+)\(.*?\)`\]\(([\w/-]+\.md)#exercise-([\w-]+)\)", render(), re.MULTILINE)
    assert [name for _, _, name in links] == [name for names in placed().values() for name in names]
    for function, page, name in links:
        assert function == exercise(name).function
        assert f"\n@exercise {name}\n" in (DOCS / page).read_text(encoding="utf-8")


def test_a_twin_holds_the_exercise():
    text = twin("---\ndescription: d\n---\n\n# T\n\n@exercise rope\n", "learn/t.md")
    assert "**Exercise `rope` (medium, 15 minutes).** `rope(x, theta)` rotates" in text
    assert "> **Solution**\n>\n> ```python\n> def rope(x, theta):" in text
