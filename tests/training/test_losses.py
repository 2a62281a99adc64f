"""The chunked loss equals torch's cross entropy and its gradients, for every chunk and ignored label."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.test_models import CONFIGS, lively, tokens
from tests.models.tiny import hf_model
from tests.parity import assert_parity

from llmguide.data.tokens.windows import Batch
from llmguide.models import build, from_hf
from llmguide.nn.mixture_of_experts import load_balancing_loss
from llmguide.training.activation_checkpointing import training_blocks
from llmguide.training.losses import (
    batch_loss,
    cross_entropy,
    linear_cross_entropy,
    next_token_loss,
    token_logprobs,
    token_logprobs_and_entropy,
)

N, D, V = 11, 5, 17


def inputs(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, D, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=generator).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(V, (N,), generator=generator)


@pytest.mark.parity
@pytest.mark.parametrize("chunk", [1, 3, 11, 512, None])
@pytest.mark.parametrize("ignored", [(), (0, 4, 5, 10)])
def test_against_cross_entropy(chunk, ignored):
    results = []
    for loss_of in (
        lambda h, w, t: linear_cross_entropy(h, w, t, chunk=chunk),
        lambda h, w, t: F.cross_entropy(h @ w.T, t),
    ):
        hidden, weight, targets = inputs()
        targets[list(ignored)] = -100
        loss = loss_of(hidden, weight, targets)
        (3 * loss).backward()
        results.append((loss, hidden.grad, weight.grad))
    for ours, theirs in zip(*results, strict=True):
        assert_parity(
            ours,
            theirs,
            of="llmguide.training.losses.linear_cross_entropy",
            against="torch.nn.functional.cross_entropy",
            atol=1e-6,
        )
    assert (results[0][1][list(ignored)] == 0).all()


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_gradients_by_finite_differences(chunk, seed):
    hidden, weight, targets = inputs(torch.float64, seed)
    assert torch.autograd.gradcheck(
        lambda h, w: linear_cross_entropy(h, w, targets, chunk=chunk), (hidden, weight)
    )


@pytest.mark.parametrize("frozen", [0, 1])
def test_frozen_inputs_get_no_gradient(frozen):
    hidden, weight, targets = inputs()
    expected = torch.autograd.grad(F.cross_entropy(hidden @ weight.T, targets), (hidden, weight))
    pair = (hidden, weight)
    pair[frozen].requires_grad_(False)
    linear_cross_entropy(hidden, weight, targets, chunk=4).backward()
    assert pair[frozen].grad is None
    torch.testing.assert_close(pair[1 - frozen].grad, expected[1 - frozen])


def test_without_gradients():
    hidden, weight, targets = inputs()
    with torch.no_grad():
        loss = linear_cross_entropy(hidden, weight, targets, chunk=4)
    torch.testing.assert_close(loss, F.cross_entropy(hidden @ weight.T, targets))


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(autocast):
    """Matrix products in bfloat16 and the softmax in float32, as torch does it."""
    results = []
    for loss_of in (
        lambda h, w, t: linear_cross_entropy(h, w, t, chunk=4),
        lambda h, w, t: F.cross_entropy(F.linear(h, w).float(), t),
    ):
        hidden, weight, targets = inputs(torch.float32 if autocast else torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(hidden, weight, targets)
        loss.backward()
        assert loss.dtype == torch.float32
        assert hidden.grad.dtype == hidden.dtype
        results.append([loss.float(), hidden.grad.float(), weight.grad.float()])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("name", ["gpt", "sinusoidal", "llama", "mixtral"])
def test_next_token_loss_chunked_equals_plain(name):
    grads = []
    for chunked in (False, True):
        model = lively(build(CONFIGS[name]))
        loss = next_token_loss(model, tokens(3, 9), chunked=chunked)
        loss.backward()
        grads.append([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
    for plain, chunked in zip(*grads, strict=True):
        torch.testing.assert_close(plain, chunked, atol=1e-5, rtol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_loss_of_transformers(name):
    hf, ids = hf_model(name), tokens(2, 12)
    theirs = hf(ids, labels=ids).loss
    assert_parity(
        next_token_loss(from_hf(hf), ids),
        theirs,
        of="llmguide.training.losses.next_token_loss",
        against=f"transformers.{type(hf).__name__}",
        atol=2e-6,
    )


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_the_loss_of_a_batch_equals_cross_entropy(name):
    model = lively(build(CONFIGS[name]))
    ids = tokens(3, 9)
    targets = ids[:, 1:].clone()
    targets[0, :4] = -100
    loss, n_counted = batch_loss(model, Batch(ids[:, :-1], targets))
    assert n_counted == 3 * 8 - 4
    assert_parity(
        loss,
        F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), targets.flatten()),
        of="llmguide.training.losses.batch_loss",
        against="torch.nn.functional.cross_entropy",
        atol=1e-6,
    )


@pytest.mark.parity
def test_a_mixture_trains_with_its_balancing_loss():
    """As in transformers with one layer; of several it takes the mean load, where each could be uneven."""
    hf, ids = hf_model("mixtral").train(), tokens(3, 9)
    del hf.model.layers[1:]
    hf.config.num_hidden_layers, hf.router_aux_loss_coef = 1, 0.01
    ours = from_hf(hf).train()
    loss, _ = batch_loss(ours, Batch(ids, F.pad(ids[:, 1:], (0, 1), value=-100)))
    theirs = hf(ids, labels=ids, output_router_logits=True).loss
    names = {"of": "llmguide.training.losses.batch_loss", "against": "transformers.MixtralForCausalLM"}
    assert_parity(loss, theirs, **names, atol=1e-6)
    loss.backward()
    theirs.backward()
    router, gate = ours.blocks[0].feed_forward.router, hf.model.layers[0].mlp.gate
    assert_parity(router.weight.grad, gate.weight.grad, **names, atol=1e-6)
    assert not router._forward_hooks


@pytest.mark.parametrize("recompute", [False, True])
def test_each_layer_is_balanced_while_it_trains_and_never_when_it_is_evaluated(recompute):
    model = lively(build(CONFIGS["mixtral"])).train()
    ids = tokens(3, 9)
    batch = Batch(ids[:, :-1], ids[:, 1:])
    plain = cross_entropy(model(batch.inputs), batch.targets)
    scores = []
    for block in model.blocks:
        block.feed_forward.router.register_forward_hook(lambda _, __, out: scores.append(out))
    model(batch.inputs)
    expected = plain + 0.01 * sum(load_balancing_loss(each, k=2) for each in scores)
    with training_blocks(model, activation_checkpointing=recompute):
        loss, _ = batch_loss(model, batch)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(batch_loss(model.eval(), batch)[0], plain)


@pytest.mark.parametrize("loss_of", [build(CONFIGS["gpt"]), build(CONFIGS["gpt"]).forward])
def test_a_batch_without_targets_is_neutral(loss_of):
    loss, n_counted = batch_loss(loss_of, Batch(tokens(2, 5), torch.full((2, 5), -100)))
    loss.backward()
    assert (loss.item(), n_counted) == (0, 0)


def plain_stats(hidden, weight, targets, temperature):
    log_probs = F.log_softmax(hidden @ weight.T / temperature, dim=-1)
    kept = targets != -100
    found = log_probs.gather(1, targets.clamp(min=0)[:, None])[:, 0]
    entropy = torch.distributions.Categorical(logits=hidden @ weight.T / temperature).entropy()
    return found.where(kept, 0.0), entropy.where(kept, 0.0)


@pytest.mark.parity
@pytest.mark.parametrize("chunk", [1, 4, None])
@pytest.mark.parametrize("ignored", [(), (0, 4, 5, 10), range(11)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_of_tokens_against_log_softmax(chunk, ignored, temperature):
    upstream = torch.randn(2, N, generator=torch.Generator().manual_seed(5))
    results = []
    for stats_of in (
        lambda h, w, t: token_logprobs_and_entropy(h, w, t, chunk=chunk, temperature=temperature),
        lambda h, w, t: plain_stats(h, w, t, temperature),
    ):
        hidden, weight, targets = inputs()
        targets[list(ignored)] = -100
        logprobs, entropy = stats_of(hidden, weight, targets)
        (upstream[0] * logprobs + upstream[1] * entropy).sum().backward()
        results.append((logprobs, entropy, hidden.grad, weight.grad))
    for ours, theirs in zip(*results, strict=True):
        assert_parity(
            ours,
            theirs,
            of="llmguide.training.losses.token_logprobs_and_entropy",
            against="torch.nn.functional.log_softmax",
            atol=4e-6,
        )


@pytest.mark.parity
def test_logprobs_of_tokens_against_trl():
    from trl.trainer.utils import selective_log_softmax  # noqa: PLC0415  # takes seconds to import

    grads = []
    for logprobs_of in (
        lambda h, w, t: token_logprobs(h.view(1, N, D), w, t.view(1, N), chunk=3),
        lambda h, w, t: selective_log_softmax((h @ w.T).view(1, N, V), t.view(1, N)),
    ):
        hidden, weight, targets = inputs()
        logprobs = logprobs_of(hidden, weight, targets)
        logprobs.square().sum().backward()
        grads.append((logprobs, hidden.grad, weight.grad))
    for ours, theirs in zip(*grads, strict=True):
        names = {
            "of": "llmguide.training.losses.token_logprobs",
            "against": "trl.trainer.utils.selective_log_softmax",
        }
        assert_parity(ours, theirs, **names, atol=2e-5)


@settings(max_examples=4, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000), st.floats(0.3, 2))
def test_gradients_of_logprobs_by_finite_differences(chunk, seed, temperature):
    hidden, weight, targets = inputs(torch.float64, seed)
    targets[::3] = -100
    assert torch.autograd.gradcheck(
        lambda h, w: token_logprobs_and_entropy(h, w, targets, chunk=chunk, temperature=temperature),
        (hidden, weight),
    )


@pytest.mark.parametrize("autocast", [False, True])
def test_logprobs_in_bfloat16_are_float32(autocast):
    hidden, weight, targets = inputs(torch.float32 if autocast else torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logprobs = token_logprobs(hidden, weight, targets, chunk=4)
    logprobs.sum().backward()
    assert logprobs.dtype == torch.float32
    exact = token_logprobs(hidden.float(), weight.float(), targets)
    torch.testing.assert_close(logprobs, exact, atol=0.05, rtol=0.02)
    wanted = torch.autograd.grad(exact.sum(), (hidden, weight))
    for p, grad in zip((hidden, weight), wanted, strict=True):
        assert p.grad.dtype == p.dtype
        torch.testing.assert_close(p.grad, grad, atol=0.05, rtol=0.05)


def test_neither_pass_holds_all_logits(monkeypatch):
    """Rows of the head's product are counted: at most a chunk at a time, none for ignored targets."""
    rows = []
    log_softmax = torch.log_softmax
    monkeypatch.setattr(torch, "log_softmax", lambda z, **k: rows.append(len(z)) or log_softmax(z, **k))
    hidden, weight, targets = inputs()
    targets[:4] = -100
    logprobs = token_logprobs(hidden, weight, targets, chunk=3)
    assert rows == [3, 3, 1]
    logprobs.sum().backward()
    assert rows == [3, 3, 1] * 2


def test_a_temperature_of_zero_is_named():
    with pytest.raises(ValueError, match="temperature=0 must be above 0"):
        token_logprobs(*inputs(), temperature=0)


def test_nothing_to_learn_from():
    hidden, weight, targets = inputs()
    with pytest.raises(ValueError, match="there is no loss"):
        linear_cross_entropy(hidden, weight, torch.full_like(targets, -100))
    with pytest.raises(ValueError, match="at least 2 tokens"):
        next_token_loss(build(CONFIGS["gpt"]), tokens(2, 1))
