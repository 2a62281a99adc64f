"""Measures of style, counted on paper."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.projects.analysis.text_style import distinct, repetition, style, variety, words


def test_a_text_counted_on_paper():
    # three sentences of 4, 1 and 5 words, of 16, 4 and 16 letters; rain twice
    found = style("Here comes the rain! Rain.\n\u201cShall we go home now?\u201d")
    assert found["words per sentence"] == pytest.approx(10 / 3)
    assert found["letters per word"] == pytest.approx(36 / 10)
    assert found["lively sentences"] == pytest.approx(2 / 3)
    assert found["variety"] == pytest.approx(9 / 10)
    assert found["repetition"] == 0.0


@pytest.mark.parametrize("text", ["", "  \n", "...", "12 34!", "\u2014"])
def test_a_text_without_words_measures_nothing(text):
    assert set(style(text).values()) == {0.0}


def test_words():
    assert words("O'er the 2 hills, CR\u00c8ME-br\u00fbl\u00e9e; don\u2019t") == [
        "o'er",
        "the",
        "hills",
        "cr\u00e8me",
        "br\u00fbl\u00e9e",
        "don\u2019t",
    ]


def test_variety_does_not_fall_with_length_as_the_share_of_different_words_does():
    verse = [f"w{i % 60}" for i in range(600)]  # each run of 50 words has 50 different ones
    assert variety(verse) == variety(verse[:100]) == 1.0
    assert len(set(verse)) / len(verse) == 0.1


def test_repetition_of_a_refrain():
    # 8 words, 6 runs of three: abc bca cab abc bca cab, of which 3 are new
    assert repetition(list("abcabcab")) == pytest.approx(0.5)
    assert repetition(["a", "b"]) == 0.0


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(1, 10))
def test_variety_is_a_share_and_one_for_single_words(found, window):
    assert 0 < variety(found, window) <= 1
    assert variety(found, 1) == 1.0


def test_distinct_counts_pairs_within_texts_only():
    assert distinct(["a b", "b a"]) == 1.0
    assert distinct(["a b a b a", ""]) == 0.5  # ab ba ab ba
    assert distinct(["one", ""]) == 0.0
