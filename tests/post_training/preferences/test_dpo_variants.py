"""IPO, KTO, ORPO and SimPO equal TRL's in loss and gradients; IPO with TRL stands in `tests/test_dpo.py`."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import trl_peer
from tests.parity import assert_parity

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.post_training.preferences.dpo_variants import (
    ipo_loss,
    kto_kl,
    kto_loss,
    orpo_loss,
    simpo_loss,
)
from llmguide.post_training.preferences.pairs import pair_logprobs

values = st.lists(st.tuples(*[st.floats(-50, -0.01)] * 4), min_size=1, max_size=6).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64).T
)


def assert_gradients(model, theirs, of, against):
    for name, gradient in trl_peer.as_hf_gradients(model).items():
        if name in theirs:
            assert_parity(gradient, theirs[name], of=of, against=f"{against} (gradients)", atol=2e-5)


def test_by_hand():
    """IPO: margin 3 of the target 1 / (2 x 0.25) = 2. SimPO: 2 x 3 - 1 = 5, log(1 + e^-5)."""
    a, b = torch.tensor([-1.0]), torch.tensor([-4.0])
    assert ipo_loss(a, b, b, b, beta=0.25).loss.item() == pytest.approx(1.0)
    assert simpo_loss(a, b, beta=2.0, gamma=1.0).loss.item() == pytest.approx(0.0067153, abs=1e-6)


def test_kto_by_hand():
    """Log-ratios 2 and 2, a divergence of 1: sigmoid(-1) for the good answer, sigmoid(1) for the bad."""
    policy, reference = torch.tensor([-1.0, -1.0]), torch.tensor([-3.0, -3.0])
    loss, rewards = kto_loss(policy, reference, torch.tensor([True, False]), torch.tensor(1.0), beta=1.0)
    assert loss.item() == pytest.approx((0.2689414 + 0.7310586) / 2)
    assert rewards.tolist() == [2.0, 2.0]


@pytest.mark.parity
@pytest.mark.parametrize(("good", "bad"), [(1.0, 1.0), (1.33, 0.5)])
@pytest.mark.parametrize("desirable", [None, True, False])
def test_kto_against_trl(good, bad, desirable):
    """Also where all answers are good, or all bad."""
    peer = trl_peer.trainer("kto", beta=0.4, desirable_weight=good, undesirable_weight=bad)
    batch = trl_peer.batch(peer)
    if desirable is not None:
        batch["label"] = torch.full_like(torch.as_tensor(batch["label"]), desirable)
    theirs, gradients = trl_peer.loss_and_gradients(peer, batch)
    model, reference = trl_peer.ours("policy"), trl_peer.ours("reference")
    answers = trl_peer.rows(batch["input_ids"], batch["completion_mask"])
    others = trl_peer.rows(batch["KL_input_ids"], batch["KL_completion_mask"])
    with torch.no_grad():
        kl = kto_kl(pair_logprobs(model, others)[0], pair_logprobs(reference, others)[0])
        known, _ = pair_logprobs(reference, answers)
    policy, _ = pair_logprobs(model, answers)
    labels = torch.as_tensor(batch["label"]).bool()
    loss, _ = kto_loss(policy, known, labels, kl, beta=0.4, desirable_weight=good, undesirable_weight=bad)
    loss.backward()
    of, against = (
        "llmguide.post_training.preferences.dpo_variants.kto_loss",
        "trl.KTOTrainer.compute_loss",
    )
    assert_parity(loss, theirs, of=of, against=against, atol=2e-6)
    assert_parity(
        kl,
        peer._metrics["eval"]["kl"][-1],
        of="llmguide.post_training.preferences.dpo_variants.kto_kl",
        against=against,
        atol=1e-5,
    )
    assert_gradients(model, gradients, of, against)


def concatenated(batch):
    """Chosen and rejected rows of TRL's older collator, padded to one width, and their means."""
    width = max(batch[f"{side}_input_ids"].shape[1] for side in ("chosen", "rejected"))
    inputs, targets = (
        torch.cat(
            [
                F.pad(x, (0, width - x.shape[1]), value=fill)
                for x in (batch[f"chosen_{name}"], batch[f"rejected_{name}"])
            ]
        )
        for name, fill in (("input_ids", 0), ("labels", IGNORE_INDEX))
    )
    return trl_peer.rows(inputs, targets != IGNORE_INDEX)


def means(model, rows):
    logprobs, lengths = pair_logprobs(model, rows)
    return (logprobs / lengths).chunk(2)


@pytest.mark.parity
def test_orpo_against_trl():
    peer = trl_peer.trainer("orpo", beta=0.5)
    batch = trl_peer.batch(peer)
    theirs, gradients = trl_peer.loss_and_gradients(peer, batch)
    model = trl_peer.ours("policy")
    # TRL's loss of fine-tuning is over prompts too
    ids, mask = batch["chosen_input_ids"], batch["chosen_attention_mask"].bool()
    nll = F.cross_entropy(
        model(ids[:, :-1]).flatten(0, 1),
        ids.where(mask, IGNORE_INDEX)[:, 1:].flatten(),
        ignore_index=IGNORE_INDEX,
    )
    ours = orpo_loss(*means(model, concatenated(batch)), beta=0.5, nll=nll)
    ours.loss.backward()
    of, against = (
        "llmguide.post_training.preferences.dpo_variants.orpo_loss",
        "trl.experimental.orpo.ORPOTrainer.compute_loss",
    )
    assert_parity(ours.loss, theirs, of=of, against=against, atol=2e-6)
    assert_gradients(model, gradients, of, against)


@pytest.mark.parity
def test_simpo_against_trl():
    peer = trl_peer.trainer("cpo", loss_type="simpo", cpo_alpha=0.0, beta=2.0, simpo_gamma=1.2)
    batch = trl_peer.batch(peer)
    theirs, gradients = trl_peer.loss_and_gradients(peer, batch)
    model = trl_peer.ours("policy")
    ours = simpo_loss(*means(model, concatenated(batch)), beta=2.0, gamma=1.2)
    ours.loss.backward()
    of, against = (
        "llmguide.post_training.preferences.dpo_variants.simpo_loss",
        "trl.experimental.cpo.CPOTrainer.compute_loss",
    )
    assert_parity(ours.loss, theirs, of=of, against=against, atol=2e-6)
    assert_gradients(model, gradients, of, against)


@settings(max_examples=50, deadline=None)
@given(values, st.floats(0.05, 1))
def test_ipo_stops_at_its_target(answers, beta):
    """The loss is 0 where the margin is 1 / (2 beta), and grows on both sides of it."""
    _, rejected, ref_chosen, ref_rejected = answers
    there = rejected - ref_rejected + ref_chosen + 1 / (2 * beta)
    assert ipo_loss(there, rejected, ref_chosen, ref_rejected, beta=beta).loss < 1e-18
    for off in (-1.0, 1.0):
        loss = ipo_loss(there + off, rejected, ref_chosen, ref_rejected, beta=beta).loss
        assert loss.item() == pytest.approx(1.0)


@settings(max_examples=50, deadline=None)
@given(values, st.floats(0, 3))
def test_kto_is_bounded_and_opposite_for_opposite_labels(answers, kl):
    policy, reference, *_ = answers
    good = torch.ones(len(policy), dtype=torch.bool)
    loss, _ = kto_loss(policy, reference, good, torch.tensor(kl, dtype=torch.float64))
    opposite, _ = kto_loss(policy, reference, ~good, torch.tensor(kl, dtype=torch.float64))
    assert 0 <= loss <= 1
    assert (loss + opposite).item() == pytest.approx(1)


def test_the_divergence_of_kto_is_never_negative_and_has_no_gradient():
    policy = torch.tensor([-5.0], requires_grad=True)
    kl = kto_kl(policy, torch.zeros(1))
    assert kl.item() == 0.0
    assert not kl.requires_grad


@settings(max_examples=50, deadline=None)
@given(values)
def test_orpo_by_probabilities(answers):
    """Log-odds of p against q, from the probabilities themselves."""
    chosen, rejected, *_ = answers
    p, q = chosen.exp(), rejected.exp()
    expected = -chosen.mean() + 0.1 * torch.log1p(q / (1 - q) / (p / (1 - p))).mean()
    torch.testing.assert_close(orpo_loss(chosen, rejected).loss, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("pair", [(0.0, 0.0), (0.0, -6e4), (-6e4, 0.0), (-1e-8, -1e-8)])
def test_extremes_are_finite(dtype, pair):
    """Certain and impossible answers, which give TRL's ORPO 0 / 0."""
    chosen, rejected = (torch.tensor([x], dtype=dtype, requires_grad=True) for x in pair)
    zero = torch.zeros(1, dtype=dtype)
    losses = [
        orpo_loss(chosen, rejected).loss,
        simpo_loss(chosen, rejected).loss,
        kto_loss(chosen, zero, torch.tensor([True]), torch.tensor(0.0))[0],
    ]
    for loss in losses:
        assert math.isfinite(loss.item())
    sum(losses).backward()
    assert chosen.grad.isfinite().all()
    assert rejected.grad.isfinite().all()


@pytest.mark.parametrize("loss", [ipo_loss, orpo_loss, simpo_loss])
def test_beta_must_be_positive(loss):
    with pytest.raises(ValueError, match="beta=0"):
        loss(*torch.zeros(4 if loss is ipo_loss else 2, 1), beta=0.0)
