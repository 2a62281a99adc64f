"""The quiz: every answer computed, every choice explained, every variant different, every link alive."""

import math
import re

import pytest
import yaml
from site_tools import DOCS
from site_tools.content.quiz import (
    KINDS,
    MAX_VARIANTS,
    MIN_VARIANTS,
    PARTS,
    chapters,
    check_addresses,
    instantiate,
    read,
)
from site_tools.content.quiz_pages import pages

QUESTIONS = [(chapter, question) for chapter in chapters() for question in chapter.questions]
VARIANTS = [(question, variant) for _, question in QUESTIONS for variant in question.variants]
GOOD = """
title = "T"
page = "index.md"

[[question]]
id = "x-double"
kind = "single"
see = "index.md"
setup = "n = draw.choice(range(2, 40))"
text = "Twice {{ n }}?"
choices = [
  { text = "{{ 2 * n }}", right = "2 * n == n + n", why = "{{ n }} and {{ n }}." },
  { text = "{{ n }}", why = "That is once." },
  { text = "{{ 2 * n + 1 }}", why = "That is odd." },
]
"""


def test_every_chapter_has_at_least_ten_questions_of_several_kinds():
    for chapter in chapters():
        assert len(chapter.questions) >= 10, chapter.name
        assert len({question.kind for question in chapter.questions}) >= 4, chapter.name


def test_every_kind_is_used_and_every_file_is_read():
    assert {question.kind for _, question in QUESTIONS} == set(KINDS)
    assert {path.stem for path in (DOCS / "_data" / "quiz").glob("*.toml")} == {
        name for part in PARTS.values() for name in part
    }


def test_300_questions_and_at_least_120_with_values_that_code_samples():
    sampled = [question for _, question in QUESTIONS if len(question.variants) >= MIN_VARIANTS]
    assert len(QUESTIONS) >= 300
    assert len(sampled) >= 120


def test_every_chapter_has_questions_in_variants():
    for chapter in chapters():
        assert sum(len(question.variants) >= MIN_VARIANTS for question in chapter.questions) >= 1, (
            chapter.name
        )


def test_everything_is_filled_in_and_explained():
    for question, variant in VARIANTS:
        texts = [variant.text, variant.why, *(part for c in variant.choices for part in (c.text, c.why))]
        assert not [text for text in texts if "{{" in text or "}}" in text], question.id
        assert all(choice.why.rstrip('`$)"').endswith((".", "!", "?")) for choice in variant.choices), (
            question.id
        )
        assert variant.why or question.kind != "numeric", question.id


def test_the_head_of_every_page_can_be_read():
    for path, text in pages().items():
        assert yaml.safe_load(text.split("---")[1])["title"], path


def test_ids_are_anchors():
    for chapter, question in QUESTIONS:
        assert re.fullmatch(r"[a-z][a-z-]+", question.id)
        page, _, anchor = question.see.partition("#")
        assert page == chapter.page or page.startswith(("learn/", "code/", "projects/"))
        assert anchor


def test_numbers_are_finite_and_wrong_ones_can_be_told_apart():
    for question, variant in VARIANTS:
        if question.kind == "numeric":
            numbers = [float(variant.answer), *(float(choice.text) for choice in variant.choices)]
            assert all(map(math.isfinite, numbers)), question.id
            wrong = numbers[1:]
            assert not any(
                math.isclose(a, b, rel_tol=variant.tolerance / 2)
                for i, a in enumerate(wrong)
                for b in wrong[:i]
            ), (question.id, wrong)


def test_the_right_choice_is_not_always_in_the_same_place():
    places = [
        next(index for index, choice in enumerate(variant.choices) if choice.right)
        for question, variant in VARIANTS
        if question.kind == "single"
    ]
    assert max(places.count(place) for place in range(4)) < len(places) / 2


# Worked by hand or printed in a source, so that an error in the package shows up here, too.
@pytest.mark.parametrize(
    ("name", "answer", "tolerance"),
    [
        ("introduction-doubling", 3.4, 0.02),  # Kaplan: 1 - 2^-0.05
        ("transformer-share", 66.7, 0.001),
        ("transformer-mixture", 27.6, 0.01),  # 12.9 of 46.7
        ("pretraining-utilization", 39.1, 0.002),  # 8.09e22 over 184,320 h at 312 TFLOP/s
        ("post-training-start", 0.693, 0.001),
    ],
)
def test_known_answers(name, answer, tolerance):
    (variant,) = next(question.variants for _, question in QUESTIONS if question.id == name)
    assert math.isclose(float(variant.answer), answer, rel_tol=tolerance)


# ---- reading ---------------------------------------------------------------------------------------


def test_variants_differ_and_are_seeded():
    (question,) = read("t", GOOD).questions
    assert len({variant.text for variant in question.variants}) == MAX_VARIANTS
    assert read("t", GOOD) == read("t", GOOD)
    for variant in question.variants:
        n = int(re.search(r"\d+", variant.text)[0])
        (right,) = [choice for choice in variant.choices if choice.right]
        assert right.text == str(2 * n)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('kind = "single"\n', "", "lacks kind"),
        ('kind = "single"', 'kind = "numeric"', "lacks answer, why"),
        ('why = "That is odd."', 'wy = "That is odd."', "a choice has unknown fields wy"),
        ('kind = "single"', 'kind = "singlee"', "did you mean single?"),
        ('kind = "single"', 'kind = "guess"', "'guess' is not among single, multiple"),
        ('see = "index.md"', 'see = "index.md"\nhint = "?"', "unknown fields hint"),
        ("2 * n == n + n", "2 * n == n", "0 of 3 choices are right"),
        ("2 * n == n + n", "2 * m == n", "question "),
        ("2 * n == n + n", "2 * m == n", "NameError: name 'm' is not defined"),
        ('see = "index.md"', "see = index.md", "Invalid value"),
        ('why = "That is odd."', 'right = true, why = "No."', "2 of 3 choices are right"),
        ('why = "That is odd."', 'why = ""', "no explanation of"),
        ("{{ 2 * n + 1 }}", "{{ n }}", "two choices are the same"),
        ("range(2, 40)", "[3]", "fewer than 3 distinct variants"),
        (
            'see = "index.md"',
            'see = "learn/attentio.md"',
            "no page docs/learn/attentio.md; did you mean learn/at",
        ),
        ('see = "index.md"', 'see = "index.md#no"', "docs/index.md has no heading #no"),
        ('page = "index.md"', 'page = "idex.md"', "no page docs/idex.md; did you mean index.md?"),
        ('title = "T"', "", "lacks title"),
        ('kind = "single"', 'kind = "multiple"\ncode = ""', None),
        ('kind = "single"', 'kind = "order"', None),
    ],
)
def test_contradictions_are_errors(old, new, complaint):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if complaint is None:
        assert read("t", text).questions
    else:
        with pytest.raises(ValueError, match=rf"^docs/_data/quiz/t.toml(:(\d+:)?)? .*{re.escape(complaint)}"):
            check_addresses(read("t", text), text)


def test_output_is_found_by_running_the_code():
    choices = [{"text": text, "why": "So."} for text in ("{{ output }}", "2", "3")]
    table = {
        "id": "x",
        "kind": "output",
        "text": "?",
        "see": "index.md",
        "code": "print(1)",
        "choices": choices,
    }
    assert [choice.text for choice in instantiate(table, 0).choices if choice.right] == ["`1`"]


def test_a_wrong_number_that_is_right_is_an_error():
    table = {"id": "x", "kind": "numeric", "text": "?", "see": "index.md", "answer": "2.0", "why": "So."}
    with pytest.raises(ValueError, match=r"\[2\.01\] are as good as the answer 2\.0"):
        instantiate({**table, "choices": [{"text": "2.01", "why": "No."}]}, 0)
    assert instantiate({**table, "choices": [{"text": "2.1", "why": "No."}]}, 0).answer == "2.0"
