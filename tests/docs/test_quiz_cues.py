"""The quiz without cues: no rule that ignores the subject finds right choices much better than chance."""

import math
import re
import tomllib
from collections.abc import Callable
from fractions import Fraction

import pytest
from site_tools.content.quiz import FOLDER, PARTS, Question, Variant, chapters, instantiate

QUESTIONS = [question for chapter in chapters() for question in chapter.questions]
SINGLE = [question for question in QUESTIONS if question.kind == "single"]
MULTIPLE = [question for question in QUESTIONS if question.kind == "multiple"]
DRAWN = [
    table
    for names in PARTS.values()
    for name in names
    for table in tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))["question"]
    if "draw." in table.get("setup", "")
]
ABSOLUTE = re.compile(
    r"\b(always|never|all|every|everything|nothing|none|only|completely|perfect|impossible|any)\b", re.I
)
Rule = Callable[[Variant], list[float]]


def plain(text: str) -> str:
    return re.sub(r"[$`*\\{}]", "", text)


def length(variant: Variant) -> list[float]:
    return [len(plain(choice.text)) for choice in variant.choices]


def overlap(variant: Variant) -> list[float]:
    """How many of the longer words of the question each choice repeats."""
    words = set(re.findall(r"[a-z]{5,}", variant.text.lower()))
    return [len(words & set(re.findall(r"[a-z]{5,}", choice.text.lower()))) for choice in variant.choices]


RULES: dict[str, Rule] = {
    "the longest": length,
    "the shortest": lambda variant: [-n for n in length(variant)],
    "the one in the question's words": overlap,
    "the one in other words": lambda variant: [-n for n in overlap(variant)],
    "the one with a number": lambda variant: [bool(re.search(r"\d", c.text)) for c in variant.choices],
    "the one with a comma": lambda variant: ["," in c.text for c in variant.choices],
}


def advantage(questions: list[Question], rule: Rule) -> float:
    """How many more questions a rule is expected to get right than a guess, ties broken at random."""
    total = Fraction(0)
    for question in questions:
        variant = question.variants[0]
        values = rule(variant)
        best = [
            choice.right
            for choice, value in zip(variant.choices, values, strict=True)
            if value == max(values)
        ]
        total += Fraction(sum(best), len(best)) - Fraction(1, len(values))
    return float(total)


def test_there_are_enough_questions_and_enough_with_drawn_values():
    assert len(QUESTIONS) >= 250
    assert sum(len(question.variants) > 1 for question in QUESTIONS) >= 120


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_beats_chance_by_more_than_a_small_margin(rule):
    assert advantage(SINGLE, RULES[rule]) / len(SINGLE) <= 0.08


@pytest.mark.parametrize("rule", ["the longest", "the shortest"])
def test_no_chapter_gives_itself_away_by_length(rule):
    for chapter in chapters():
        found = advantage([q for q in chapter.questions if q.kind == "single"], RULES[rule])
        assert found <= 1.5, (chapter.name, found)


def test_right_choices_among_several_are_no_longer_than_wrong_ones():
    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    gaps = []
    for question in MULTIPLE:
        variant = question.variants[0]
        rights = [n for n, c in zip(length(variant), variant.choices, strict=True) if c.right]
        wrongs = [n for n, c in zip(length(variant), variant.choices, strict=True) if not c.right]
        gaps.append(math.log(mean(rights) / mean(wrongs)))
    assert abs(mean(gaps)) < 0.15
    assert 0.3 < mean([gap > 0 for gap in gaps]) < 0.7


def test_all_but_one_is_not_the_rule():
    n_right = [sum(c.right for c in q.variants[0].choices) for q in MULTIPLE]
    all_but_one = [n == len(q.variants[0].choices) - 1 for n, q in zip(n_right, MULTIPLE, strict=True)]
    assert sum(all_but_one) <= len(MULTIPLE) / 3
    assert max(n_right.count(n) for n in set(n_right)) < 0.75 * len(MULTIPLE)


def test_absolutes_do_not_mark_wrong_choices():
    choices = [choice for question in SINGLE + MULTIPLE for choice in question.variants[0].choices]
    marked = [choice for choice in choices if ABSOLUTE.search(choice.text)]
    wrong = sum(not choice.right for choice in choices) / len(choices)
    assert sum(not choice.right for choice in marked) <= wrong * len(marked) + 2
    assert not [choice.text for choice in choices if re.search(r"\b(always|never)\b", choice.text, re.I)]
    assert not [choice.text for choice in choices if re.search(r"of the above|of these\b", choice.text, re.I)]


def test_choices_of_a_question_have_the_same_form():
    for question in SINGLE + MULTIPLE:
        assert not re.search(r"\b(a|an)\W*$", question.variants[0].text), question.id
        for variant in question.variants:
            texts = [plain(choice.text).strip() for choice in variant.choices]
            assert len({text.endswith(".") for text in texts}) == 1, (question.id, texts)
            starts = [text[0] for text in texts if text[0].isalpha()]
            assert len({start.isupper() for start in starts}) <= 1, (question.id, texts)


@pytest.mark.parametrize("table", DRAWN, ids=lambda table: table["id"])
def test_drawn_values_give_one_key_on_many_seeds(table):
    for seed in range(40):
        variant = instantiate(table, seed)  # raises if choices are equal, or not one of them is right
        if table["kind"] != "numeric":
            continue
        answer, *wrong = [float(variant.answer), *(float(choice.text) for choice in variant.choices)]
        assert math.isfinite(answer)
        for i, value in enumerate(wrong):
            assert math.isfinite(value)
            others = [answer, *wrong[:i]]
            assert not [x for x in others if math.isclose(x, value, rel_tol=variant.tolerance, abs_tol=1e-9)]
        if variant.unit == "%":
            assert 0 <= answer <= 100
        if table["text"].startswith(("How many GB", "How many GiB", "How many days")):
            assert variant.unit
