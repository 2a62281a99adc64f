from collections import Counter
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.evaluation._fast_ngram import fast_ngram_probabilities
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte, ngram_probabilities


def witten_bell(train, context, byte):
    """The formula, one byte at a time: p(byte | context), with all contexts counted anew."""
    shorter = witten_bell(train, context[1:], byte) if context else 1 / 256
    k = len(context) + 1
    followers = Counter(
        train[i + k - 1] for i in range(len(train) - k + 1) if train[i : i + k - 1] == context
    )
    n, t = followers.total(), len(followers)
    return (followers[byte] + t * shorter) / (n + t) if t else shorter


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=10), st.integers(0, 4))
def test_the_formula_computed_recursively(train, held_out, order):
    train, held_out = (bytes(b % 3 for b in text) for text in (train, held_out))
    bits = 0.0
    for i, byte in enumerate(held_out):
        context = held_out[max(0, i - order + 1) : i] if order else None
        bits -= log2(1 / 256 if order == 0 else witten_bell(train, context, byte))
    assert ngram_bits_per_byte(train, held_out, order) == pytest.approx(bits / len(held_out))
    assert -sum(map(log2, ngram_probabilities(train, held_out, order))) == pytest.approx(bits)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=200), st.binary(min_size=1, max_size=100), st.integers(0, 8))
def test_the_fast_path_gives_the_same_probabilities(train, held_out, order):
    train, held_out = (bytes(b % 4 * 85 for b in text) for text in (train, held_out))
    fast = fast_ngram_probabilities(train, held_out, order)
    assert fast.tolist() == pytest.approx(ngram_probabilities(train, held_out, order), rel=1e-12)


def test_a_text_may_be_shorter_than_the_longest_ngram():
    probabilities = ngram_probabilities(b"abcdefgh", b"abcde", 8)
    assert fast_ngram_probabilities(b"abcdefgh", b"abcde", 8).tolist() == pytest.approx(probabilities)


def test_probabilities_of_all_bytes_sum_to_one():
    train, context = b"abracadabra", b"abr"
    total = sum(
        2
        ** -(
            4 * ngram_bits_per_byte(train, context + bytes([b]), 4)
            - 3 * ngram_bits_per_byte(train, context, 4)
        )
        for b in range(256)
    )
    assert total == pytest.approx(1)


def test_longer_contexts_help_where_text_repeats():
    text = b"the cat sat on the mat and the dog sat on the log. " * 40
    scores = [ngram_bits_per_byte(text, text[:500], order) for order in (0, 1, 2, 5, 8)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 8


def test_empty_texts_are_rejected():
    for train, held_out, order in ((b"", b"a", 1), (b"a", b"", 1), (b"a", b"a", 9)):
        with pytest.raises(ValueError, match=f"order={order}"):
            ngram_bits_per_byte(train, held_out, order)
