"""Merges by hand, and the fast functions against the simple ones."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.tokenization.bpe import (
    learn_merges,
    learn_merges_simple,
    merge_pair,
    merge_piece,
    merge_piece_simple,
    pair_counts,
    ranks_from_merges,
)

# Few letters, so that ties and runs such as aaaa are frequent.
WORDS = st.dictionaries(
    st.text("abc", min_size=1, max_size=12).map(str.encode), st.integers(1, 5), max_size=12
)
BOTH_LEARNERS = pytest.mark.parametrize("learn", [learn_merges, learn_merges_simple])
BOTH_ENCODERS = pytest.mark.parametrize("encode", [merge_piece_simple, merge_piece])

SENNRICH = {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}


@BOTH_LEARNERS
def test_sennrich_by_hand(learn):
    """The dictionary of Sennrich et al. 2016, algorithm 1, without their end-of-word symbol.

    At first es and st are in 6 + 3 words, we in 2 + 6, lo and ow in 5 + 2. es (101, 115) comes before st,
    then es|t has 9; lo comes before ow with 7, then lo|w; of ne, ew and w|est with 6 each, ew is smallest.
    """
    names = {"es": 256, "est": 257, "lo": 258, "low": 259, "ew": 260, "new": 261}
    assert learn(SENNRICH, 7) == [
        (ord("e"), ord("s")),
        (names["es"], ord("t")),
        (ord("l"), ord("o")),
        (names["lo"], ord("w")),
        (ord("e"), ord("w")),
        (ord("n"), names["ew"]),
        (names["new"], names["est"]),
    ]


@BOTH_LEARNERS
def test_wikipedia_by_hand(learn):
    """Wikipedia, "Byte-pair encoding": Z = aa, Y = ab, X = ZY turn aaabdaaabac into XdXac."""
    assert learn({b"aaabdaaabac": 1}, 3) == [(97, 97), (97, 98), (256, 257)]


@BOTH_LEARNERS
def test_without_pairs_there_are_no_merges(learn):
    assert learn({}, 5) == learn({b"a": 3, b"": 1}, 5) == []
    assert learn({b"ab": 1}, 5) == [(97, 98)]
    assert learn({b"ab": 1}, 0) == []


def test_pairs_in_runs_are_counted_at_every_position():
    assert pair_counts({(1, 1, 1): 2, (1,): 9}) == {(1, 1): 4}


def test_merge_pair_takes_runs_from_the_left():
    assert merge_pair((1, 1, 1), (1, 1), 9) == (9, 1)
    assert merge_pair((), (1, 1), 9) == ()


@given(WORDS)
def test_both_learners_agree(words):
    assert learn_merges(words, 40) == learn_merges_simple(words, 40)


REPEATS = st.lists(st.tuples(st.text("ab", min_size=1, max_size=4), st.integers(1, 30)), max_size=4)


@given(
    st.dictionaries(REPEATS.map(lambda parts: "".join(a * n for a, n in parts).encode()), st.integers(1, 3))
)
def test_both_learners_agree_on_long_repeats(words):
    assert learn_merges(words, 40) == learn_merges_simple(words, 40)


class Scanned(str):
    """A string that counts the characters that are looked through."""

    n = 0

    def __contains__(self, part):
        Scanned.n += len(self)
        return super().__contains__(part)

    def replace(self, old, new):
        Scanned.n += len(self)
        return Scanned(super().replace(old, new))


class Word(bytes):
    def decode(self, encoding):
        return Scanned(super().decode(encoding))


@pytest.mark.parametrize("unit", ["random", "a"])
def test_one_long_word_costs_in_proportion_to_its_length(unit):
    def scanned(length):
        letters = random.Random(0).choices("abcdefgh", k=length) if unit == "random" else ["a"] * length
        Scanned.n = 0
        learn_merges({Word("".join(letters).encode()): 1}, 30)
        return Scanned.n

    assert scanned(8000) <= 3 * scanned(4000)  # with a look at each place where a pair is: 4 times


@given(WORDS, st.text("abcd", max_size=60).map(str.encode))
def test_encoding_equals_replaying_the_merges_in_order(words, piece):
    merges = learn_merges(words, 40)
    ids = tuple(piece)
    for i, pair in enumerate(merges):
        ids = merge_pair(ids, pair, 256 + i)
    ranks = ranks_from_merges(merges)
    assert merge_piece_simple(piece, ranks) == merge_piece(piece, ranks) == list(ids)


@BOTH_ENCODERS
def test_encoders_by_hand(encode):
    """In lowest, low is whole, est is whole, and low|est was never learned."""
    ranks = ranks_from_merges(learn_merges(SENNRICH, 7))
    assert encode(b"lowest", ranks) == [259, 257]
    assert encode(b"", ranks) == []
    assert encode(b"z", ranks) == [122]
