from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.evaluation.extraction import extract_code
from llmguide.post_training.rl.rollout import Rollout
from llmguide.post_training.rl.verifiable_rewards import (
    boxed,
    exact,
    final_answer,
    has_format,
    last_number,
    numeric,
    parse_number,
    reward,
    tagged,
)

# By hand


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("-7", -7),
        (" 1,234,567.5 ", Fraction(2469135, 2)),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("-1.5 / 3", Fraction(-1, 2)),
        (r"\dfrac{1}{3}", Fraction(1, 3)),
        (r"-\frac{2}{6}", Fraction(-1, 3)),
        (r"\$5", 5),
        (r"12\%", 12),
        ("2e3", 2000),
        ("1E-2", Fraction(1, 100)),
        ("5.", 5),
        ("1e999", Fraction(10) ** 999),
    ],
)
def test_numbers(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-", ".", "e5", "/3", "1/", "1/0", "1/2/3", "inf", "-Infinity", "nan", "1_000", "0x10"),
        *("1,23", "1,2,3", "12,34", "3 4", "3 or 4", "3=3", "--1", "+-1", "1.2.3", "{1}", "\x00"),
        *(
            "\N{ARABIC-INDIC DIGIT THREE}",
            "\N{SUPERSCRIPT THREE}",
            "\N{MATHEMATICAL DOUBLE-STRUCK DIGIT TWO}",
        ),
        *("1e1000", "1e99999999", "9" * 41, "1" * 10_000_000),
        *(r"\frac{1}{0}", r"\frac{\frac{1}{2}}{3}"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_number(text):
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} or \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}} and 7", r"\frac{1}{2}"),
        (r"7 \boxed{8", None),
        (r"\boxed{}", ""),
        ("#### 5\n#### 6 apples", "6 apples"),
        ("from 10-5 apples", "5"),
        ("it is -5", "-5"),
        ("x=-.5.", "-.5"),
        ("costs $1,234.", "1,234"),
        ("3/4 of it", "3/4"),
        ("one", None),
        ("", None),
    ],
)
def test_final_answers(text, answer):
    assert final_answer(text) == answer


def test_listing_answers_earns_nothing():
    assert numeric("The answer is 4.", "4") == 1
    assert numeric(r"\boxed{3} \boxed{4} \boxed{5}", "4") == 0
    assert numeric(r"\boxed{3, 4, 5}", "4") == 0
    assert numeric("3,4", "4") == 0
    assert numeric("#### 4 or 5", "4") == 0
    assert exact("<answer>Paris</answer><answer>Rome</answer>", "Paris") == 0
    assert exact("<answer>Paris Rome</answer>", "Paris") == 0


def test_tolerance_is_relative_and_its_border_belongs_to_it():
    assert numeric("101", "100", tolerance=0.01) == 1  # 0.01 in binary is a little more than 1/100
    assert numeric("101.1", "100", tolerance=0.01) == 0
    assert numeric("-99.5", "-100", tolerance=0.01) == 1
    assert numeric("0.001", "0", tolerance=0.01) == 0
    assert numeric("0.30000000000000004", "0.3") == 0


def test_expected_answers_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="'four' is not a number"):
        numeric("4", "four")


def test_tags_and_format():
    good = "<think>\n2 + 2\n</think>\n<answer>4</answer>\n"
    assert tagged(good, "answer") == "4"
    assert tagged("</answer>4<answer>", "answer") is None
    assert has_format(good) == 1
    for bad in (
        good + "So 4.",
        "Well. " + good,
        good + good,
        good.replace("4", " "),
        "<answer>4</answer><think>2 + 2</think>",
        "<think>a<answer>4</think></answer>",
        "<think>a</think><answer>4",
        "<think>a <think>b</think></think><answer>4</answer>",
        "",
    ):
        assert has_format(bad) == 0
    assert has_format("<a>1</a>", tags=["a"]) == 1


def test_reward_of_a_rollout_looks_up_the_prompt():
    #                        "2+2=" padded, answers "4" and end, "5" and end
    ids = torch.tensor([[0, *b"2+2=4", 0], [*b"12+2=14"], [0, *b"2+2=5", 0]])
    mask = torch.tensor([[1, 1], [1, 1], [1, 1]]).bool()
    attention = torch.tensor([[0, 1, 1, 1, 1, 1, 1], [1] * 7, [0, 1, 1, 1, 1, 1, 1]]).bool()
    zeros = torch.zeros(3, 2)
    answers = Rollout(ids, attention, mask, zeros, zeros[..., None], mask[:, 0])
    score = reward(numeric, lambda row: bytes(row).decode(), {"2+2=": "4", "12+2=": "14"}, eos_id=0)
    assert score(answers).tolist() == [1, 1, 0]
    ends = (0, *b"4")  # the completions are then "", "1" and "5"
    score = reward(numeric, lambda row: bytes(row).decode(), {"2+2=": "5", "12+2=": "1"}, eos_id=ends)
    assert score(answers).tolist() == [0, 1, 1]


# Properties

PIECES = [*"0123456789.,/-+eE$%#{}<> ", "\\", r"\boxed{", r"\frac{", "<answer>", "</answer>", "```\n"]
HOSTILE = st.lists(st.sampled_from(PIECES)).map("".join)


@given(HOSTILE | st.text(max_size=200))
@settings(max_examples=400, deadline=None)
def test_no_text_raises_and_every_score_is_0_or_1(text):
    assert numeric(text, "4") in (0, 1)
    assert exact(text, "4") in (0, 1)
    assert has_format(text) in (0, 1)


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=1000))
@settings(max_examples=200, deadline=None)
def test_a_number_is_read_as_it_was_written(number):
    assert parse_number(str(number)) == number
    assert parse_number(rf"\frac{{{number.numerator}}}{{{number.denominator}}}") == number
    assert parse_number(f"{number.numerator:,}") == number.numerator
    assert numeric(rf"thus \boxed{{{number}}}.", str(number)) == 1
    assert numeric(rf"thus \boxed{{{number + 1}}}.", str(number)) == 0


@pytest.mark.parametrize(
    "unit", ["9", "9,", "1/", "-", "\\boxed{", "{", "<answer>", "```\n", "e9", "1 ", "####", "."]
)
@pytest.mark.timeout(120)  # takes an instant; backtracking would take hours
def test_two_hundred_thousand_characters_take_no_time(unit):
    text = unit * (200_000 // len(unit))
    for check in (boxed, last_number, final_answer, parse_number, extract_code):
        check(text)
    numeric(text, "4")
    has_format(text)
