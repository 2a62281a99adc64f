"""Splitting by hand, and the translation of patterns; test_tokenizer.py compares with tiktoken."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.tokenization.pretokenize import GPT2_PATTERN, GPT4_PATTERN, Pretokenizer, translate, well_formed

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\r'sS\x1c\x85中1🤖𐐀𠀀𞥐"))
GPT2, GPT4 = Pretokenizer(GPT2_PATTERN), Pretokenizer(GPT4_PATTERN)


def test_gpt2_by_hand():
    assert GPT2("Don't  stop, it's 2019!\n\nOK") == [
        *("Don", "'t", " ", " stop", ",", " it", "'s", " 2019", "!", "\n", "\n", "OK")
    ]


def test_gpt4_splits_digits_in_threes_and_contractions_in_any_case():
    assert GPT4("IT'S 12345\r\n\r\nok") == ["IT", "'S", " ", "123", "45", "\r\n\r\n", "ok"]


def test_only_a_dollar_at_the_very_end_matches():
    """In `re`, $ also matches before a final line feed, in tiktoken's engine it does not."""
    assert Pretokenizer(r"a$|.|\n")("a\na") == ["a", "\n", "a"]
    assert translate("a$") == r"a\Z"
    assert translate(r"[$]\$") == r"[$]\$"


@given(ANY_TEXT)
def test_nothing_is_lost(text):
    assert "".join(GPT2(text)) == "".join(GPT4(text)) == text


@given(ANY_TEXT)
def test_stand_ins_split_as_the_full_character_sets_do(text):
    for pretokenizer in (GPT2, GPT4):
        assert pretokenizer(text) == re.compile(translate(pretokenizer.pattern)).findall(text)


def test_text_that_no_alternative_matches_is_dropped_with_and_without_emoji():
    letters = Pretokenizer(r"\p{L}+")
    assert letters("a1b") == ["a", "b"]
    assert letters("a🤖b𐐀1") == ["a", "b𐐀"]
    assert letters("🤖") == letters("") == []


def test_a_pattern_may_name_astral_characters_itself():
    assert Pretokenizer(r"🤖|\p{L}+|.")("🤖🚀𐐀b") == ["🤖", "🚀", "𐐀b"]
    assert Pretokenizer(r"[\u0100-\uffff]+|.")("🚀中a") == ["🚀", "中", "a"]


def test_capturing_groups_do_not_change_the_pieces():
    assert Pretokenizer(r"(a|b)c|.")("acd") == ["ac", "d"]


@pytest.mark.parametrize(
    "pattern", [r"\w+", r"\d", r"\bx", r"[\S]", r"\P{L}", r"[a[b]]", r"[a-z&&b]", r"x\Z"]
)
def test_syntax_that_differs_between_the_engines_is_refused(pattern):
    with pytest.raises(ValueError, match="cannot translate"):
        Pretokenizer(pattern)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [(r"\p{Han}", "'Han'"), ("(", "no regular expression"), ("(?P<n>a)", "named group")],
)
def test_other_bad_patterns_are_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        Pretokenizer(pattern)


def test_surrogates():
    assert well_formed("a\ud83d\ude80\ude80b\ud83d") == "a🚀\ufffdb\ufffd"
    assert well_formed("中🚀") == "中🚀"
    assert GPT2("\ud800 \udfff") == ["\ufffd", " \ufffd"]
