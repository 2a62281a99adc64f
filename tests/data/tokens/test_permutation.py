import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.data.tokens.permutation import Permutation


def order(n: int, *seed: int) -> np.ndarray:
    return Permutation(n, seed)(np.arange(n))


@given(st.integers(1, 5000), st.integers(0, 2**32), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_every_number_comes_once(n, seed, epoch):
    assert np.sort(order(n, seed, epoch)).tolist() == list(range(n))


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1)))))
@settings(max_examples=30, deadline=None)
def test_any_part_is_that_of_the_whole(case):
    n, places = case
    some = Permutation(n, (3,))(np.array(places, dtype=np.int64))
    assert some.tolist() == order(n, 3)[places].tolist()


@pytest.mark.parametrize("n", [10**9, 10**12 + 39, 2**62])
def test_of_a_huge_number_any_part_is_distinct_and_in_range(n):
    places = np.concatenate([np.arange(20_000), np.arange(n - 20_000, n)])
    found = Permutation(n, (1, 2))(places)
    assert len(set(found.tolist())) == len(places)
    assert 0 <= found.min() <= found.max() < n
    # 40,000 uniform numbers: mean n/2 with a standard error of n / sqrt(12 * 40,000)
    assert abs(found.astype(float).mean() / n - 0.5) < 5 / np.sqrt(12 * len(places))


def test_all_orders_of_four_come_equally_often():
    orders, counts = np.unique([order(4, seed) for seed in range(2400)], axis=0, return_counts=True)
    assert len(orders) == 24
    # 100 expected each; the 99.9 % point of chi-square with 23 degrees of freedom is 49.7
    assert ((counts - 100) ** 2 / 100).sum() < 49.7


def test_it_looks_drawn_at_random():
    n = 10_007
    orders = np.array([order(n, 5, epoch) for epoch in range(20)])
    places = np.arange(n)
    assert np.abs(np.corrcoef([places, *orders])[np.triu_indices(21, 1)]).max() < 5 / np.sqrt(n)
    # a random order has one fixed point on average, whatever n
    assert (orders == places).sum() < 45
    steps = np.abs(np.diff(orders, axis=1)) / n  # of two uniform numbers: 1/3 apart on average
    assert steps.mean() == pytest.approx(1 / 3, abs=0.005)


@pytest.mark.parametrize("n", [0, -1, 2**62 + 1])
def test_impossible_sizes_are_refused(n):
    with pytest.raises(ValueError, match=f"n={n}"):
        Permutation(n, (0,))
