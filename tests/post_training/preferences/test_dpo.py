"""DPO equals TRL's in loss and gradients, and the formula of its gradient; it bears extreme logits."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import trl_peer
from tests.models.test_models import CONFIGS, lively
from tests.parity import assert_parity
from trl.trainer.utils import selective_log_softmax

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.models import build
from llmguide.post_training.preferences.dpo import (
    PreferenceLossOutput,
    dpo_loss,
    evaluate_preferences,
    make_reference_model,
    preference_objective,
    sequence_logprob,
)
from llmguide.post_training.preferences.dpo_variants import ipo_loss, orpo_loss, simpo_loss
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair, pair_logprobs
from llmguide.post_training.sft import completion
from llmguide.training.config import TrainConfig
from llmguide.training.train import train

PAIRS = [
    PreferencePair(completion([1, 2, 3], [4, 5]), completion([1, 2, 3], [6, 7, 8])),
    PreferencePair(completion([5], [2]), completion([5], [3, 4])),
    PreferencePair(completion([9, 8], [7, 7, 7]), completion([9, 8], [1])),
]
AGAINST = "trl.DPOTrainer.compute_loss"
logprobs = st.lists(st.tuples(*[st.floats(-500, 0)] * 4), min_size=1, max_size=6).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64).T
)


def test_by_hand():
    """Rewards 0.5 x (2, -1): margin 1.5, and 0.9 log(1 + e^-1.5) + 0.1 log(1 + e^1.5)."""
    found = dpo_loss(*torch.tensor([[-1.0], [-4.0], [-3.0], [-3.0]]), beta=0.5, label_smoothing=0.1)
    assert found.loss.item() == pytest.approx(0.9 * 0.2014133 + 0.1 * 1.7014133, abs=1e-6)
    assert found.metrics() == pytest.approx(
        {
            "loss": 0.3514133,
            "rewards/chosen": 1.0,
            "rewards/rejected": -0.5,
            "rewards/margins": 1.5,
            "rewards/accuracies": 1.0,
        }
    )


def trl_batch(peer, masks):
    batch = trl_peer.batch(peer)
    if masks == "holes":
        batch["completion_mask"][:, 5::3] = 0
    if masks == "empty":
        batch["completion_mask"][1] = 0
    return batch


@pytest.mark.parity
@pytest.mark.parametrize("masks", ["whole", "holes", "empty"])
@pytest.mark.parametrize(
    ("loss_type", "loss", "per_token"),
    [("sigmoid", dpo_loss, False), ("ipo", ipo_loss, True), ("sigmoid_norm", dpo_loss, True)],
)
def test_against_trl(loss_type, loss, per_token, masks):
    peer = trl_peer.trainer("dpo", loss_type=[loss_type], beta=0.3)
    batch = trl_batch(peer, masks)
    theirs, gradients = trl_peer.loss_and_gradients(peer, batch)
    model, reference = trl_peer.ours("policy"), trl_peer.ours("reference")
    seen: list[PreferenceLossOutput] = []
    objective = preference_objective(
        partial(loss, beta=0.3), make_reference_model(reference), per_token=per_token, watch=seen.append
    )
    ours, n = objective(model, trl_peer.rows(batch["input_ids"], batch["completion_mask"]))
    ours.backward()
    assert n == 4
    of = f"{loss.__module__}.{loss.__name__}"
    assert_parity(ours, theirs, of=of, against=AGAINST, atol=1e-5)
    for name, gradient in trl_peer.as_hf_gradients(model).items():
        if name in gradients:
            assert_parity(gradient, gradients[name], of=of, against=f"{AGAINST} (gradients)", atol=2e-5)
    if loss_type == "sigmoid":
        metrics = peer._metrics["eval"]
        for name, value in seen[0].metrics().items():
            if name != "loss":
                assert_parity(value, metrics[name][-1], of=of, against=f"{AGAINST} ({name})", atol=2e-5)


@pytest.mark.parity
@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_label_smoothing_against_trl(smoothing):
    """TRL smooths in two variants: aot, DPO's equal for a batch of one pair, and robust, rescaled."""
    for loss_type in ("aot", "robust"):
        peer = trl_peer.trainer("dpo", loss_type=[loss_type], label_smoothing=smoothing)
        batch = {
            name: value[1::4] for name, value in trl_peer.batch(peer).items()
        }  # one chosen, one rejected
        theirs, _ = trl_peer.loss_and_gradients(peer, batch)
        rows = trl_peer.rows(batch["input_ids"], batch["completion_mask"])
        model, reference = trl_peer.ours("policy"), trl_peer.ours("reference")
        answers = [half for m in (model, reference) for half in pair_logprobs(m, rows)[0].chunk(2)]
        ours = dpo_loss(*answers, label_smoothing=smoothing).loss
        if loss_type == "robust":  # ((1 - s) l(m) - s l(-m)) / (1 - 2 s), and l(m) - l(-m) = -m
            flipped = dpo_loss(*(answers[i] for i in (1, 0, 3, 2))).loss
            ours = ((1 - smoothing) * dpo_loss(*answers).loss - smoothing * flipped) / (1 - 2 * smoothing)
        atol = 1e-6 / (1 - 2 * smoothing)  # by which robust multiplies the rounding
        assert_parity(
            ours, theirs, of="llmguide.post_training.preferences.dpo.dpo_loss", against=AGAINST, atol=atol
        )


@pytest.mark.parity
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1.0, 3e4])
def test_sequence_logprob_against_trl(dtype, scale):
    """Up to logits of 60,000 in half precision: TRL's log-softmax of the same numbers in float64."""
    logits = (torch.rand(3, 6, 11, generator=torch.Generator().manual_seed(0)) * 2 * scale).to(dtype)
    labels = torch.arange(18).view(3, 6) % 11
    labels[0, :4] = labels[2] = IGNORE_INDEX
    labels[1, 1::2] = IGNORE_INDEX
    theirs = selective_log_softmax(logits.double(), labels.clamp(min=0)) * (labels != IGNORE_INDEX)
    ours = sequence_logprob(logits, labels)
    assert ours.dtype == torch.float32
    assert ours[2] == 0
    assert_parity(
        ours,
        theirs.sum(-1),
        of="llmguide.post_training.preferences.dpo.sequence_logprob",
        against="trl.trainer.utils.selective_log_softmax",
        atol=1e-6 * max(1.0, scale),
    )


@pytest.mark.parametrize("name", ["gpt", "llama", "bloom"])
def test_padding_on_either_side(name):
    model, ids = lively(build(CONFIGS[name])), torch.tensor([[5, 1, 2, 9, 4]])
    labels = torch.tensor([[IGNORE_INDEX, 2, IGNORE_INDEX, 4, 7]])
    alone = sequence_logprob(model(ids), labels)
    for pad in ((3, 0), (0, 3)):
        mask = F.pad(torch.ones_like(ids), pad)
        padded = sequence_logprob(
            model(F.pad(ids, pad), attention_mask=mask), F.pad(labels, pad, value=IGNORE_INDEX)
        )
        torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parity
def test_precomputed_reference_against_trl():
    peer = trl_peer.trainer("dpo", precompute_ref_log_probs=True)
    batch = trl_peer.batch(peer)
    theirs, _ = trl_peer.loss_and_gradients(peer, batch)
    rows = trl_peer.rows(batch["input_ids"], batch["completion_mask"])
    known, _ = pair_logprobs(trl_peer.ours("reference"), rows)
    ours, _ = preference_objective(dpo_loss)(
        trl_peer.ours("policy"), rows._replace(ref_logprobs=known.detach())
    )
    assert_parity(
        ours,
        theirs,
        of="llmguide.post_training.preferences.dpo.preference_objective",
        against=AGAINST,
        atol=1e-6,
    )


@settings(max_examples=50, deadline=None)
@given(logprobs, st.floats(0.01, 2), st.floats(0, 0.49))
def test_gradient_is_the_published_formula(answers, beta, smoothing):
    """Equation 7, a pair at a time: -beta sigmoid(r_l - r_w) (grad log w - grad log l), and smoothed."""
    chosen, rejected = (side.clone().requires_grad_() for side in answers[:2])
    found = dpo_loss(chosen, rejected, *answers[2:], beta=beta, label_smoothing=smoothing)
    found.loss.backward()
    weight = torch.sigmoid(-found.margins) - smoothing  # (1 - s) sigmoid(-m) - s sigmoid(m)
    torch.testing.assert_close(chosen.grad, -beta * weight / len(chosen))
    torch.testing.assert_close(rejected.grad, -chosen.grad)


@settings(max_examples=50, deadline=None)
@given(logprobs, st.floats(0.01, 2))
def test_swapped_pairs(answers, beta):
    """Margins change sign, accuracies add up but for ties, and the losses differ by the margin."""
    found, swapped = dpo_loss(*answers, beta=beta), dpo_loss(*answers[[1, 0, 3, 2]], beta=beta)
    torch.testing.assert_close(found.margins, -swapped.margins)
    ties = (found.margins == 0).double().mean().item()
    assert found.accuracy + swapped.accuracy + ties == pytest.approx(1)
    torch.testing.assert_close(swapped.loss - found.loss, found.margins.mean())


@given(logprobs)
def test_without_divergence_nothing_is_preferred(answers):
    """As beta goes to 0 the loss goes to log 2, by at most beta / 2 times the log-ratio."""
    loss = dpo_loss(*answers, beta=1e-9).loss.item()
    assert loss == pytest.approx(0.6931471805599453, abs=1e-6)


@pytest.mark.parametrize("margin", [1e4, -1e4])
def test_far_apart_in_half_precision(margin):
    """The loss of a margin far from 0 is finite: 0, or the margin; and its gradient is 0, or beta."""
    zero = torch.zeros(1, dtype=torch.float16)
    chosen = torch.tensor([margin], dtype=torch.float16, requires_grad=True)
    found = dpo_loss(chosen, zero, zero, zero, beta=1.0)
    found.loss.backward()
    assert found.loss.item() == max(0.0, -margin)
    assert chosen.grad.item() == (0.0 if margin > 0 else -1.0)


def test_a_missing_reference_is_named():
    model, batch = lively(build(CONFIGS["gpt"])), PreferenceDataset(PAIRS).batch(0, 2)
    with pytest.raises(ValueError, match="the loss needs a reference"):
        preference_objective(partial(dpo_loss, beta=0.5))(model, batch)
    with pytest.raises(ValueError, match="reference_model is the policy itself"):
        preference_objective(dpo_loss, model)(model, batch)


@pytest.mark.parametrize(
    "loss",
    [simpo_loss, partial(orpo_loss, beta=0.5), lambda chosen, rejected, *_: simpo_loss(chosen, rejected)],
)
def test_a_loss_without_reference_says_whether_it_takes_means(loss):
    with pytest.raises(ValueError, match="pass per_token=True"):
        preference_objective(loss)
    with pytest.raises(ValueError, match="pass per_token=True"):
        evaluate_preferences(lively(build(CONFIGS["gpt"])), PreferenceDataset(PAIRS), loss)
    preference_objective(loss, per_token=False)


def test_a_loss_without_reference_leaves_a_stored_one_aside():
    model, data = lively(build(CONFIGS["gpt"])), PreferenceDataset(PAIRS)
    stored = data.with_reference(make_reference_model(model), batch_size=2)
    objective = preference_objective(orpo_loss, per_token=True)
    assert torch.equal(objective(model, stored.batch(0, 2))[0], objective(model, data.batch(0, 2))[0])


@pytest.mark.parametrize(
    ("option", "value"), [("beta", 0.0), ("label_smoothing", 0.5), ("label_smoothing", -0.1)]
)
def test_refused_options(option, value):
    with pytest.raises(ValueError, match=f"{option}={value}"):
        dpo_loss(*torch.zeros(4, 1), **{option: value})


@pytest.mark.parametrize(
    ("loss", "needs_reference", "per_token"),
    [(dpo_loss, True, False), (ipo_loss, True, True), (orpo_loss, False, True), (simpo_loss, False, True)],
)
def test_each_loss_learns_the_preference(loss, needs_reference, per_token):
    """And the reference costs the same result whether it runs on every batch or ran once."""
    results = []
    for is_precomputed in (False, True) if needs_reference else (False,):
        model = lively(build(CONFIGS["gpt"]))
        reference = make_reference_model(model) if needs_reference else None
        data = PreferenceDataset(PAIRS, seed=1)
        if is_precomputed:
            data, reference = data.with_reference(reference, batch_size=2), None
        before = evaluate_preferences(model, data, loss, reference, per_token=per_token, batch_size=2)
        objective = preference_objective(loss, reference, per_token=per_token)
        config = TrainConfig(n_steps=30, context_length=8, batch_size=3, lr=5e-3, weight_decay=0.0)
        train(model, data, config, loss=objective)
        after = evaluate_preferences(model, data, loss, reference, per_token=per_token, batch_size=2)
        assert after.loss < before.loss
        assert after.accuracy == 1.0
        results.append(after.margins)
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, atol=1e-4, rtol=1e-4)


def test_evaluation_is_one_large_batch():
    model, reference = lively(build(CONFIGS["llama"])).train(), make_reference_model(build(CONFIGS["llama"]))
    data = PreferenceDataset(PAIRS)
    a, b = (evaluate_preferences(model, data, dpo_loss, reference, batch_size=size) for size in (2, 3))
    torch.testing.assert_close(a.loss, b.loss)
    torch.testing.assert_close(a.margins, b.margins, atol=1e-5, rtol=1e-5)
    assert model.training
