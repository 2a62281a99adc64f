import math

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llmguide.generation.sampling import greedy, min_p, repetition_penalty, sample, temperature, top_k, top_p

INF = math.inf
B, V = 5, 997
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
NO_IDS = torch.empty(B, 0, dtype=torch.long)


def some_logits(dtype: torch.dtype) -> Tensor:
    """Rows of every awkward kind: spread, flat, tied, mostly masked, one token left."""
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(B, V, generator=generator)
    logits[0] *= 8
    logits[1] = 0.5
    logits[2] = logits[2].round()
    logits[3, torch.randperm(V, generator=generator)[: V - 7]] = -INF
    logits[4, 1:] = -INF
    return logits.to(dtype)


def probabilities(*values: float) -> Tensor:
    return torch.tensor(values).log()


# By hand


def test_temperature_halves_the_log_odds():
    assert temperature(torch.tensor([2.0, -4.0]), 2.0).tolist() == [1.0, -2.0]


def test_temperature_zero_keeps_the_first_of_the_largest():
    logits = torch.tensor([[[1.0, 7.0, 7.0]], [[0.0, -1.0, -INF]]])
    assert temperature(logits, 0).tolist() == [[[-INF, 7.0, -INF]], [[0.0, -INF, -INF]]]


def test_top_k_keeps_ties_of_the_last():
    assert top_k(torch.tensor([4.0, 1.0, 2.0, 2.0, 3.0]), 3).tolist() == [4.0, -INF, 2.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (1e-9, [0]),  # one always stays
        (0.49, [0]),
        (0.51, [0, 2]),
        (0.74, [0, 2]),
        (0.76, [0, 1, 2]),
        (0.99, [0, 1, 2, 3]),
        (1, [0, 1, 2, 3]),
    ],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(p, kept):
    logits = probabilities(0.5, 0.15, 0.25, 0.1)
    assert top_p(logits, p).isfinite().nonzero().flatten().tolist() == kept


def test_top_p_splits_ties_where_the_mass_is_reached():
    kept = top_p(torch.zeros(8), 0.6).isfinite().sum()  # 4/8 falls short of 0.6, 5/8 reaches it
    assert kept == 5


def test_min_p_compares_with_the_most_likely():
    logits = probabilities(0.4, 0.3, 0.2, 0.1)
    assert min_p(logits, 0.6).isfinite().tolist() == [True, True, False, False]  # 0.24
    assert min_p(logits, 0.3).isfinite().tolist() == [True, True, True, False]  # 0.12


def test_repetition_penalty_pushes_down_on_both_sides_of_zero():
    logits = torch.tensor([[3.0, -3.0, 0.0, 6.0], [3.0, -3.0, 0.0, 6.0]])
    ids = torch.tensor([[0, 1, 2, 0], [3, 3, 3, 3]])
    assert repetition_penalty(logits, ids, 1.5).tolist() == [[2.0, -4.5, 0.0, 6.0], [3.0, -3.0, 0.0, 4.0]]


def test_greedy_takes_the_first_of_the_largest():
    assert greedy(torch.tensor([[[0.0, 2.0, 2.0]], [[-INF, -9.0, -INF]]])).tolist() == [[1], [1]]


# Parity


@pytest.mark.parity
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("ours", "peer", "values"),
    [
        (temperature, TemperatureLogitsWarper, [0.1, 0.7, 1.0, 3.0]),
        (top_k, TopKLogitsWarper, [1, 2, 50, V, V + 1]),
        (top_p, TopPLogitsWarper, [1e-6, 0.1, 0.5, 0.9, 0.95, 0.999]),
        (min_p, MinPLogitsWarper, [0.0, 0.02, 0.1, 0.5, 1.0]),
    ],
)
def test_filters_equal_hugging_face(ours, peer, values, dtype):
    logits = some_logits(dtype)
    for value in values:
        assert_parity(
            ours(logits, value),
            peer(value)(NO_IDS, logits),
            of=f"llmguide.generation.sampling.{ours.__name__}",
            against=f"transformers.{peer.__name__}",
            atol=0,
        )


@pytest.mark.parity
@pytest.mark.parametrize("dtype", DTYPES)
def test_repetition_penalty_equals_hugging_face(dtype):
    logits = some_logits(dtype)
    ids = torch.randint(V, (B, 31), generator=torch.Generator().manual_seed(2))
    for r in [0.8, 1.0, 1.1, 1.3, 2.0]:
        assert_parity(
            repetition_penalty(logits, ids, r),
            RepetitionPenaltyLogitsProcessor(r)(ids, logits),
            of="llmguide.generation.sampling.repetition_penalty",
            against="transformers.RepetitionPenaltyLogitsProcessor",
            atol=0,
        )


@pytest.mark.parity
def test_a_chain_of_filters_equals_hugging_face():
    logits = some_logits(torch.float32)
    ids = torch.randint(V, (B, 13), generator=torch.Generator().manual_seed(3))
    ours = min_p(top_p(top_k(temperature(repetition_penalty(logits, ids, 1.2), 0.8), 40), 0.9), 0.05)
    peer = logits
    for step in [
        RepetitionPenaltyLogitsProcessor(1.2),
        TemperatureLogitsWarper(0.8),
        TopKLogitsWarper(40),
        TopPLogitsWarper(0.9),
        MinPLogitsWarper(0.05),
    ]:
        peer = step(ids, peer)
    assert_parity(
        ours, peer, of="llmguide.generation.sampling", against="transformers.LogitsProcessorList", atol=0
    )


# Properties

finite_rows = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=13)


@given(finite_rows, st.integers(1, 15), st.floats(0.01, 1), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_filters_keep_the_largest_change_no_kept_logit_and_repeat_without_effect(row, k, p, minimum):
    logits = torch.tensor(row)
    for filtered, again in [
        (top_k(logits, k), lambda z: top_k(z, k)),
        (min_p(logits, minimum), lambda z: min_p(z, minimum)),
        (top_p(logits, p), lambda z: z),
    ]:
        kept = filtered.isfinite()
        assert filtered[kept].equal(logits[kept])
        assert filtered.max() == logits.max()
        assert logits[kept].min() >= logits[~kept].max() if (~kept).any() else True
        assert again(filtered).equal(filtered)


@given(finite_rows, st.floats(0.01, 0.99))
@settings(max_examples=100, deadline=None)
def test_top_p_reaches_p_and_needs_every_token(row, p):
    logits = torch.tensor(row, dtype=torch.float64)
    kept = top_p(logits, p).isfinite()
    mass = logits.softmax(-1)[kept]
    assert mass.sum() >= p - 1e-9
    assert kept.sum() == 1 or mass.sum() - mass.min() <= p + 1e-9


@pytest.mark.parametrize(
    "same",
    [
        lambda z: temperature(z, 1.0),
        lambda z: top_k(z, V),
        lambda z: top_k(z, 10 * V),
        lambda z: top_p(z, 1.0),
        lambda z: min_p(z, 0.0),
        lambda z: repetition_penalty(z, torch.arange(B).reshape(B, 1), 1.0),
        lambda z: repetition_penalty(z, NO_IDS, 2.0),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_neutral_settings_change_nothing(same, dtype):
    logits = some_logits(dtype)
    result = same(logits)
    assert result.equal(logits)
    assert result.dtype == dtype


def test_batch_axes_are_independent():
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(4))
    ids = torch.randint(7, (2, 3, 5), generator=torch.Generator().manual_seed(5))
    for function in [
        lambda z, _: temperature(z, 0),
        lambda z, _: top_k(z, 3),
        lambda z, _: top_p(z, 0.6),
        lambda z, _: min_p(z, 0.3),
        lambda z, i: repetition_penalty(z, i, 1.4),
        lambda z, _: greedy(z),
    ]:
        whole = function(logits, ids)
        for b in range(2):
            for c in range(3):
                assert function(logits[b, c], ids[b, c]).equal(whole[b, c])


def test_filters_leave_their_input_alone():
    logits = some_logits(torch.float32)
    before = logits.clone()
    ids = torch.zeros(B, 2, dtype=torch.long)
    temperature(logits, 0), top_k(logits, 2), top_p(logits, 0.5), min_p(logits, 0.5)
    repetition_penalty(logits, ids, 2.0)
    assert logits.equal(before)


def test_an_endless_row_of_draws_follows_the_softmax():
    """Chi-square with 6 degrees of freedom: above 22.46 once in a thousand generators."""
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, 0.5, -2.0, 1.5, -INF])
    n = 100_000
    draws = sample(logits.expand(n, -1), torch.Generator().manual_seed(0))
    observed = torch.bincount(draws, minlength=8).double()
    expected = n * logits.double().softmax(-1)
    assert observed[7] == 0
    assert ((observed - expected)[:7] ** 2 / expected[:7]).sum() < 22.46


@pytest.mark.parametrize("dtype", DTYPES)
def test_sample_of_a_large_vocabulary_stays_in_the_nucleus(dtype):
    logits = torch.zeros(3, 200_019, dtype=dtype)
    logits[:, 150_000] = 20  # probability 0.9996
    logits = top_p(logits.float(), 0.9)
    assert sample(logits, torch.Generator().manual_seed(1)).tolist() == [150_000] * 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sample_draws_the_tail_of_half_precision_logits(dtype):
    """Each of 20,000 others has probability 2.5e-5, which float16 holds to 4%; float32 keeps it."""
    logits = torch.zeros(500, 20_001, dtype=dtype)
    logits[:, 0] = 9.90625  # exact in both dtypes; e^9.90625 = 20,055, so one half of the draws
    zeros = int((sample(logits, torch.Generator().manual_seed(2)) == 0).sum())
    assert abs(zeros - 250) < 56  # five standard deviations of 11.2


def test_sample_repeats_with_its_generator_and_keeps_batch_axes():
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(6))
    first = sample(logits, torch.Generator().manual_seed(7))
    assert first.shape == (2, 3)
    assert first.equal(sample(logits, torch.Generator().manual_seed(7)))
    assert sample(logits[0, 0]).shape == ()
    assert sample(logits[:0]).shape == (0, 3)


def test_ids_for_another_batch_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"ids \(1, 1\) and logits \(2, 3\)"):
        repetition_penalty(torch.zeros(2, 3), torch.tensor([[1]]), 1.2)


def test_a_logit_beyond_float32_is_named():
    with pytest.raises(ValueError, match="is inf"):
        sample(torch.tensor([1e300, 0.0], dtype=torch.float64))


def test_sampling_at_temperature_zero_is_greedy():
    logits = some_logits(torch.float32)
    assert sample(temperature(logits, 0)).equal(greedy(logits))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: temperature(z, -0.5), "t=-0.5"),
        (lambda z: temperature(z, math.nan), "t=nan"),
        (lambda z: temperature(z, INF), "t=inf"),
        (lambda z: top_k(z, 0), "k=0"),
        (lambda z: top_k(z, -1), "k=-1"),
        (lambda z: top_p(z, 0.0), "p=0.0"),
        (lambda z: top_p(z, 1.01), "p=1.01"),
        (lambda z: top_p(z, math.nan), "p=nan"),
        (lambda z: min_p(z, -0.1), "p=-0.1"),
        (lambda z: min_p(z, 1.1), "p=1.1"),
        (lambda z: repetition_penalty(z, torch.tensor([0]), 0.0), "r=0.0"),
        (lambda z: repetition_penalty(z, torch.tensor([0]), -1.0), "r=-1.0"),
        (lambda z: repetition_penalty(z, torch.tensor([0]), math.nan), "r=nan"),
        (lambda z: repetition_penalty(z, torch.tensor([1, 3]), 1.2), "ids reach from 1 to 3"),
        (lambda z: repetition_penalty(z, torch.tensor([-1, 2]), 1.2), "ids reach from -1 to 2"),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("choose", [sample, greedy, lambda z: temperature(z, 0)])
@pytest.mark.parametrize(
    ("row", "value"), [([-INF, -INF], "-inf"), ([0.0, math.nan], "nan"), ([0.0, INF], "inf")]
)
def test_a_row_that_is_no_distribution_is_named(choose, row, value):
    logits = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], row]])
    with pytest.raises(ValueError, match=rf"logits\[1, 1\] is {value}:"):
        choose(logits)
