"""The one-screen GPT-2 equals the full one: logits, gradients, a training step, and sampled text."""

from math import log

import pytest
import torch
from torch.nn.functional import cross_entropy

from llmguide import ModelConfig, build, generate, to_hf
from llmguide.models.minimal_gpt import MinimalGPT, sample, train_step
from llmguide.training.losses import next_token_loss
from llmguide.training.update_rules import clip_grad_norm_
from tests.parity import assert_parity

V, T, D, H, L = 13, 11, 15, 3, 2


@pytest.fixture
def models():
    shape = {"vocab_size": V, "context_length": T, "n_layers": L, "d_model": D, "n_heads": H}
    torch.manual_seed(1)
    full = build(ModelConfig(**shape, activation="gelu_tanh"))
    for parameter in full.parameters():  # biases and norms too, which start at 0 and 1
        torch.nn.init.normal_(parameter, std=0.3)
    minimal = MinimalGPT(**shape)
    minimal.load_state_dict(full.state_dict())
    return minimal, full


@pytest.mark.parity
def test_logits_equal_those_of_transformers(models):
    minimal, full = models
    ids = torch.randint(V, (5, T))
    theirs = to_hf(full).eval()(ids).logits
    of, against = "llmguide.models.minimal_gpt.MinimalGPT", "transformers.GPT2LMHeadModel"
    assert_parity(minimal(ids), theirs, of=of, against=against, atol=1e-4)
    torch.testing.assert_close(minimal(ids), full(ids), atol=1e-5, rtol=1e-5)


def test_a_training_step_has_the_loss_and_gradients_of_the_full_model(models):
    minimal, full = models
    ids = torch.randint(V, (5, T))
    loss = next_token_loss(full, ids)
    loss.backward()
    clip_grad_norm_(full.parameters(), 1.0)
    optimizer = torch.optim.SGD(minimal.parameters(), lr=0.0)
    assert train_step(minimal, optimizer, ids) == pytest.approx(loss.item(), abs=1e-5)
    for (name, ours), theirs in zip(minimal.named_parameters(), full.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_a_new_model_gives_every_token_about_the_same_probability():
    minimal = MinimalGPT(vocab_size=500, context_length=T, n_layers=L, d_model=64, n_heads=4)
    ids = torch.randint(500, (8, T))
    loss = cross_entropy(minimal(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(log(500), abs=0.1)


def test_training_steps_memorize_a_batch(models):
    minimal, _ = models
    optimizer = torch.optim.AdamW(minimal.parameters(), lr=0.01)
    ids = torch.randint(V, (2, T))
    losses = [train_step(minimal, optimizer, ids) for _ in range(150)]
    assert losses[-1] < 0.1 < losses[0]


def test_text_is_sampled_from_the_same_distribution(models):
    minimal, full = models
    prompt = torch.randint(V, (1, 3))
    with torch.no_grad():
        for model in models:  # so peaked that every draw is the most likely token
            model.final_norm.weight.mul_(1000)
            model.final_norm.bias.mul_(1000)
    assert torch.equal(sample(minimal, prompt, T - 3), generate(full, prompt, T - 3, temperature=0))
