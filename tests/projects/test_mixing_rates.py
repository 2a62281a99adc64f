from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.projects.mixing_rates import counts, mixed, mixing_rates

SIZES = {"large": 3000, "middle": 300, "small": 30}


def test_t5s_limits():
    assert mixing_rates(SIZES, 1.0)["small"] == pytest.approx(30 / 3330)
    assert mixing_rates(SIZES, inf) == pytest.approx(dict.fromkeys(SIZES, 1 / 3))
    capped = mixing_rates(SIZES, 1.0, cap=300)
    assert capped["large"] == capped["middle"] == pytest.approx(300 / 630)


@given(st.floats(1, 100), st.floats(1, 100))
def test_a_higher_temperature_gives_the_small_more(one, other):
    low, high = sorted((one, other))
    assert mixing_rates(SIZES, low)["small"] <= mixing_rates(SIZES, high)["small"] + 1e-12


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 500))
def test_counts_add_up_and_are_off_by_less_than_one(sizes, n):
    rates = mixing_rates({str(i): size for i, size in enumerate(sizes)}, 1.0)
    found = counts(rates, n)
    assert sum(found.values()) == n
    assert all(abs(found[name] - rates[name] * n) < 1 for name in rates)


def test_an_example_comes_again_only_after_all_have_come():
    drawn = mixed({"a": list(range(10)), "b": list(range(10, 13))}, {"a": 0.5, "b": 0.5}, 16, seed=3)
    assert sorted(set(drawn)) == [i for i in range(13) if i in drawn]
    assert max(drawn.count(i) for i in range(10)) == 1
    assert sorted(drawn.count(i) for i in range(10, 13)) == [2, 3, 3]
    assert drawn == mixed({"a": list(range(10)), "b": list(range(10, 13))}, {"a": 0.5, "b": 0.5}, 16, seed=3)


@pytest.mark.parametrize(("sizes", "options"), [({}, {}), ({"a": 0}, {}), ({"a": 1}, {"cap": 0.5})])
def test_what_cannot_be_mixed_is_named(sizes, options):
    with pytest.raises(ValueError, match="must all be at least 1"):
        mixing_rates(sizes, 1.0, **options)
    with pytest.raises(ValueError, match=r"temperature=0\.5"):
        mixing_rates({"a": 1}, 0.5)
