from math import log

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.nn.embeddings import (
    analogy,
    cooccurrence_counts,
    cooccurrence_vectors,
    cosine_similarity,
    embed,
    nearest,
    ppmi,
)


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(), (5,), (2, 5), (0,)])
def test_a_lookup_is_a_product_with_one_hot_vectors(shape):
    table, ids = torch.randn(17, 7), torch.randint(17, shape)
    product = F.one_hot(ids, 17).float() @ table
    assert_parity(
        embed(table, ids),
        product,
        of="llmguide.nn.embeddings.embed",
        against="torch.nn.functional.one_hot",
        atol=0,
    )


def test_the_gradient_of_a_lookup_reaches_the_rows_used_as_often_as_they_are():
    table = torch.zeros(3, 2, requires_grad=True)
    embed(table, torch.tensor([2, 0, 2])).sum().backward()
    assert table.grad.tolist() == [[1, 1], [0, 0], [2, 2]]


@pytest.mark.parity
def test_cosine_similarity_is_torchs():
    a, b = torch.randn(5, 1, 7), torch.randn(3, 7)
    of, against = "llmguide.nn.embeddings.cosine_similarity", "torch.nn.functional.cosine_similarity"
    assert_parity(
        cosine_similarity(a, b), F.cosine_similarity(a, b, dim=-1), of=of, against=against, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_zero_vectors_are_similar_to_nothing(dtype):
    a = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=dtype)
    assert cosine_similarity(a, torch.tensor([3.0, 4.0], dtype=dtype)).tolist() == pytest.approx(
        [0, 1], abs=1e-2
    )


@given(exponent=st.integers(-36, 36))
def test_similarity_ignores_length(exponent):
    a, b, scale = torch.randn(7), torch.randn(7), 10.0**exponent
    torch.testing.assert_close(cosine_similarity(a * scale, b), cosine_similarity(a, b), atol=1e-5, rtol=0)


def test_nearest_by_hand():
    table = torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, 1.0], [-1.0, 0.0]])
    ids, similarities = nearest(table, torch.tensor([5.0, 0.0]), k=9)
    assert ids.tolist() == [0, 1, 2, 3]
    assert similarities.tolist() == pytest.approx([1.0, 0.6, 0.0, -1.0])
    ids, _ = nearest(table, torch.tensor([5.0, 0.0]), k=2, exclude=[0, 2])
    assert ids.tolist() == [1, 3]


@pytest.mark.parity
def test_nearest_is_a_sorted_list_of_torchs_similarities():
    table, query = torch.randn(101, 7), torch.randn(7)
    peer = F.cosine_similarity(table, query, dim=-1).sort(descending=True)
    of, against = "llmguide.nn.embeddings.nearest", "torch.nn.functional.cosine_similarity"
    ids, similarities = nearest(table, query, k=101)
    assert_parity(ids, peer.indices, of=of, against=against, atol=0)
    assert_parity(similarities, peer.values, of=of, against=against, atol=1e-6)


def test_analogy_needs_the_exclusion_of_its_input():
    """Columns: royal, female, person, chess. Without the exclusion b itself wins, as Linzen (2016) found."""
    words = {
        "man": [0.0, 0.0, 9.0, 0.0],
        "woman": [0.0, 1.0, 9.0, 0.0],
        "king": [4.0, 0.0, 9.0, 0.0],
        "queen": [4.0, 2.0, 9.0, 3.0],
        "crown": [9.0, 0.0, 0.0, 0.0],
    }
    table = torch.tensor(list(words.values()))
    assert analogy(table, 0, 2, 1)[0].tolist() == [3]
    unit = F.normalize(table, dim=-1)
    assert nearest(table, unit[2] - unit[0] + unit[1], k=1)[0].tolist() == [2]


def test_counts_by_hand():
    # a b c a, window 2: ab, bc, ca at distance 1; ac, ba at distance 2
    counts = cooccurrence_counts(torch.tensor([0, 1, 2, 0]), vocab_size=3, window=2)
    assert counts.tolist() == [[0, 2, 2], [2, 0, 1], [2, 1, 0]]


def test_words_outside_the_vocabulary_keep_their_place():
    assert cooccurrence_counts(torch.tensor([0, 2, 1]), vocab_size=2, window=1).tolist() == [[0, 0], [0, 0]]
    assert cooccurrence_counts(torch.tensor([0, 2, 1]), vocab_size=2, window=2).tolist() == [[0, 1], [1, 0]]


@given(ids=st.lists(st.integers(0, 5), max_size=20), window=st.integers(1, 25))
def test_counts_are_those_of_two_loops(ids, window):
    expected = torch.zeros(5, 5)
    for i, left in enumerate(ids):
        for right in ids[i + 1 : i + 1 + window]:
            if left < 5 and right < 5:
                expected[left, right] += 1
                expected[right, left] += 1
    assert torch.equal(cooccurrence_counts(torch.tensor(ids, dtype=torch.int64), 5, window), expected)


def test_ppmi_by_hand():
    # P(0, 0) = 1/2 and P(0) = 3/4 on both sides: ln(1/2 / (9/16)) < 0
    # P(0, 1) = 1/4 and P(1) = 1/4: ln(1/4 / (3/4 * 1/4)) = ln(4/3)
    values = ppmi(torch.tensor([[2.0, 1.0], [1.0, 0.0]]))
    torch.testing.assert_close(values, torch.tensor([[0.0, log(4 / 3)], [log(4 / 3), 0.0]]))
    assert ppmi(torch.zeros(3, 3)).tolist() == [[0.0] * 3] * 3


@pytest.mark.parity
def test_vectors_are_numpys_singular_vectors():
    text = np.random.default_rng(0).choice(list("abcdefg"), size=200).tolist()
    words, vectors = cooccurrence_vectors(text, window=3, dim=5)
    ids = torch.tensor([words.index(token) for token in text])
    U, S, _ = np.linalg.svd(ppmi(cooccurrence_counts(ids, 7, 3)).double().numpy())
    peer = U[:, :5] * np.sqrt(S[:5])
    # the sign of a column is arbitrary, the products of the vectors are not
    of, against = "llmguide.nn.embeddings.cooccurrence_vectors", "numpy.linalg.svd"
    assert_parity(vectors @ vectors.T, peer @ peer.T, of=of, against=against, atol=1e-5)


def test_words_used_alike_are_neighbors():
    text = []
    for animal in ("cat", "dog", "horse"):
        text += f"the {animal} eats . a {animal} sleeps . my {animal} runs . ".split()
    for metal in ("iron", "copper", "zinc"):
        text += f"molten {metal} flows . solid {metal} rusts . pure {metal} shines . ".split()
    words, vectors = cooccurrence_vectors(text, window=1, dim=6)
    index = {word: i for i, word in enumerate(words)}
    for group in (("cat", "dog", "horse"), ("iron", "copper", "zinc")):
        ids, similarities = nearest(vectors, vectors[index[group[0]]], k=2, exclude={index[group[0]]})
        assert {words[i] for i in ids} == set(group[1:])
        assert similarities.min() > 0.99


def test_only_frequent_words_get_a_vector():
    words, vectors = cooccurrence_vectors(list("abacabd"), window=1, dim=2, vocab_size=2)
    assert words == ["a", "b"]
    assert vectors.shape == (2, 2)
    with pytest.raises(ValueError, match="dim=3 but the text has 2"):
        cooccurrence_vectors(["a", "b"], dim=3)
