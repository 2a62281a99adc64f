import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.tokens.test_packing import InMemory

from llmguide.data.tokens.mixture import Mixture
from llmguide.data.tokens.packing import Packed
from llmguide.data.tokens.windows import Batch, Windows


class Numbered:
    """Sequence i of source s is [s, i]."""

    def __init__(self, source: int, n: int):
        self.source, self.n = source, n

    def __len__(self):
        return self.n

    def batch(self, first, size):
        rows = torch.tensor([[self.source, i] for i in range(first, first + size)])
        return Batch(rows, rows)


def test_a_mixture_has_exact_shares_and_skips_nothing():
    mixture = Mixture([Numbered(0, 10), Numbered(1, 99), Numbered(2, 5)], [5, 3, 2])
    rows = mixture.batch(0, 3000).inputs
    assert len(mixture) == 114
    for block in rows.split(1000):
        assert block[:, 0].bincount().tolist() == [500, 300, 200]
    for source, n in enumerate([1500, 900, 600]):
        assert rows[rows[:, 0] == source, 1].tolist() == list(range(n))
    assert (rows[:1000, 0] != rows[1000:2000, 0]).any()
    assert mixture.batch(0, 3000).document_ids is None


@given(st.integers(0, 5000), st.integers(1, 2500), st.lists(st.floats(0.05, 1), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_any_part_of_a_mixture_is_that_of_the_whole(first, size, weights):
    mixture = Mixture([Numbered(i, 7) for i in range(len(weights))], weights)
    whole = mixture.batch(0, first + size).inputs
    assert torch.equal(mixture.batch(first, size).inputs, whole[first:])
    assert torch.equal(Mixture(mixture.sources, weights).batch(first, size).inputs, whole[first:])


def test_sources_without_documents_count_as_one_text():
    mixture = Mixture([Packed(InMemory([2, 2]), 4), Windows(torch.arange(50), 4)], [1, 1])
    batch = mixture.batch(0, 1000)
    assert (batch.document_ids.sum(1) == 0).sum() == 500
    assert sorted(set(batch.document_ids.sum(1).tolist())) == [0, 2]


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1], [1, 0.0001], [1, float("nan")]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weight"):
        Mixture([Numbered(0, 3), Numbered(1, 3)], weights)


def test_rows_of_two_lengths_do_not_mix():
    mixture = Mixture([Windows(torch.arange(50), 4), Windows(torch.arange(50), 5)], [1, 1])
    with pytest.raises(ValueError, match="rows of"):
        mixture.batch(0, 20)
