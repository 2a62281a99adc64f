from math import cos, pi

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from torch import nn

from llmguide.training.schedules import constant, warmup_cosine, warmup_stable_decay


def test_schedules_by_hand():
    cosine = [warmup_cosine(step, n_steps=8, n_warmup=2, floor=0.2) for step in range(1, 10)]
    # after the warmup progress is 0, 1/6, ..., 1; cos 60 degrees = 1/2 at step 4
    assert cosine[:2] == [0.5, 1.0]
    assert cosine[2] == pytest.approx(0.2 + 0.4 * (1 + cos(pi / 6)))
    assert cosine[3] == pytest.approx(0.8)
    assert cosine[4] == pytest.approx(0.6)
    assert cosine[7:] == pytest.approx([0.2, 0.2])
    wsd = [
        warmup_stable_decay(s, n_steps=20, n_decay=16, n_warmup=2, floor=0.5) for s in (1, 4, 5, 8, 13, 20)
    ]
    assert wsd == pytest.approx([0.5, 1.0, 0.875, 0.75, 0.625, 0.5])  # roots of 0, 1/16, 4/16, 9/16, 1
    assert [constant(step) for step in (1, 100)] == [1.0, 1.0]


@pytest.mark.parity
def test_schedules_equal_hugging_face():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    steps = range(101)
    for n_warmup in 0, 10:
        for ours, peer in [
            (
                [warmup_cosine(s, n_steps=100, n_warmup=n_warmup, floor=0.1) for s in steps],
                transformers.get_cosine_with_min_lr_schedule_with_warmup(
                    optimizer, n_warmup, 100, min_lr_rate=0.1
                ),
            ),
            (
                [warmup_stable_decay(s, n_steps=100, n_warmup=n_warmup, n_decay=20) for s in steps],
                transformers.get_wsd_schedule(optimizer, n_warmup, 20, 100, decay_type="1-sqrt"),
            ),
            (
                [constant(s, n_warmup=n_warmup) for s in steps],
                transformers.get_constant_schedule_with_warmup(optimizer, n_warmup),
            ),
        ]:
            theirs = [peer.lr_lambdas[0](s) for s in steps]
            assert_parity(
                ours,
                theirs,
                of="llmguide.training.schedules",
                against="transformers.optimization",
                atol=1e-12,
            )


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_schedules_rise_fall_and_stay_between_zero_and_one(n_steps, warmup_share, decay_share, floor):
    n_warmup = int(warmup_share * n_steps)
    n_decay = int(decay_share * (n_steps - n_warmup))
    for factors in [
        [warmup_cosine(s, n_steps=n_steps, n_warmup=n_warmup, floor=floor) for s in range(n_steps + 3)],
        [
            warmup_stable_decay(s, n_steps=n_steps, n_decay=n_decay, n_warmup=n_warmup, floor=floor)
            for s in range(n_steps + 3)
        ],
    ]:
        assert all(0 <= factor <= 1 for factor in factors)
        rising, falling = factors[: n_warmup + 1], factors[n_warmup:]
        assert rising == sorted(rising)
        assert falling == sorted(falling, reverse=True)
        assert max(factors) == 1.0 or n_warmup == n_steps
        assert factors[-1] == pytest.approx(floor)
