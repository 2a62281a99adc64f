"""The chunked loss equals torch's cross entropy and its gradients, for every chunk and ignored label."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.losses import linear_cross_entropy, next_token_loss
from llmguide.models import build, from_hf
from tests.models.test_models import CONFIGS, lively, tokens
from tests.models.tiny import hf_model
from tests.parity import assert_parity

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
            of="llmguide.losses.linear_cross_entropy",
            against="torch.nn.functional.cross_entropy",
            atol=1e-6,
        )
    assert (results[0][1][list(ignored)] == 0).all()


@settings(max_examples=20, deadline=None)
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
        of="llmguide.losses.next_token_loss",
        against=f"transformers.{type(hf).__name__}",
        atol=2e-6,
    )


def test_nothing_to_learn_from():
    hidden, weight, targets = inputs()
    with pytest.raises(ValueError, match="nothing to learn"):
        linear_cross_entropy(hidden, weight, torch.full_like(targets, -100))
    with pytest.raises(ValueError, match="at least 2 tokens"):
        next_token_loss(build(CONFIGS["gpt"]), tokens(2, 1))
