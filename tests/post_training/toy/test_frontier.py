"""Exact measurements are checked by hand, by sampling, and by conditions that an optimum meets."""

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from tests.parity import assert_parity
from tests.post_training.toy.test_world import WORLD, generator, lively, random_policy

from llmguide.models import build
from llmguide.post_training.toy.frontier import (
    best_of_n,
    best_of_n_kl,
    divergence,
    expected,
    frontier,
    optimum,
    point,
)
from llmguide.post_training.toy.world import World, completion_logprobs, list_completions, sample_completions


def test_two_words_by_hand():
    """Words "." and a, length 2: the model says "." with probability 1/4 at first and 1/2 after a."""
    completions, mask = list_completions(2, 2)
    world = World(torch.tensor([1]), completions, mask, torch.tensor([[0.0, 1.0, 2.0]]), torch.zeros(1, 3))

    def model(ids):
        assert ids.tolist() == [[1, 1]]  # the prompt a, and the beginning a
        return torch.tensor([[[0.25, 0.75], [0.5, 0.5]]]).log()

    log_p = completion_logprobs(model, world)
    torch.testing.assert_close(log_p.exp(), torch.tensor([[0.25, 0.375, 0.375]]))
    assert expected(log_p, world.gold).item() == pytest.approx(0.375 + 0.75)
    # r / beta = 0, log 2, log 4: weights 1/4, 3/4, 3/2
    best = optimum(log_p, world.gold, beta=1 / log(2))
    torch.testing.assert_close(best.exp(), torch.tensor([[0.1, 0.3, 0.6]]))
    by_hand = 0.1 * log(0.1 / 0.25) + 0.3 * log(0.3 / 0.375) + 0.6 * log(0.6 / 0.375)
    assert divergence(best, log_p).item() == pytest.approx(by_hand)
    # best of two: "." only if both draws are, "a a" unless neither is
    expected_best = [1 / 16, (5 / 8) ** 2 - 1 / 16, 1 - (5 / 8) ** 2]
    assert best_of_n(log_p, world.gold, 2).exp().tolist()[0] == pytest.approx(expected_best)


def test_gradient_of_expected_reward_is_the_policy_gradient():
    """Exact ascent: the derivative of E[r] is E[r grad log p], by enumeration on both sides."""
    model = lively()
    log_p = completion_logprobs(model, WORLD)
    exact = torch.autograd.grad(expected(log_p, WORLD.gold), model.tokens.weight, retain_graph=True)[0]
    surrogate = (log_p.detach().exp() * WORLD.gold * log_p).sum(dim=1).mean()
    torch.testing.assert_close(
        torch.autograd.grad(surrogate, model.tokens.weight)[0], exact, atol=1e-5, rtol=1e-4
    )


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 10), st.integers(0, 100))
def test_no_policy_beats_the_optimum(beta, seed):
    """First order: r - beta (log pi* - log ref) is the same for all completions. Others are worse."""
    reference = random_policy(seed)
    best = optimum(reference, WORLD.gold, beta)
    slope = WORLD.gold - beta * (best - reference)
    torch.testing.assert_close(slope, slope[:, :1].expand_as(slope), atol=1e-3, rtol=1e-4)

    def objective(policy):
        return expected(policy, WORLD.gold) - beta * divergence(policy, reference)

    for other in (reference, random_policy(seed + 1), (best + random_policy(2, 0.1)).log_softmax(dim=1)):
        assert objective(other) <= objective(best) + 1e-4
    # the value of the optimum is beta log E_ref[exp(r / beta)]
    value = beta * (reference + WORLD.gold / beta).logsumexp(dim=1).mean()
    torch.testing.assert_close(objective(best), value, atol=1e-3, rtol=1e-4)


def test_gradient_ascent_on_a_model_approaches_the_optimum():
    """The closed form is what optimization of the same objective arrives at, in a world of 40 completions."""
    torch.manual_seed(0)
    completions, mask = list_completions(4, 3)
    gold = torch.randn(2, len(completions))
    world, beta = World(torch.tensor([1, 2]), completions, mask, gold, gold), 1.0
    model = build(world.config)
    reference = completion_logprobs(model, world).detach()
    goal = optimum(reference, gold, beta)
    best = expected(goal, gold) - beta * divergence(goal, reference)
    start = expected(reference, gold)
    optimizer, reached = torch.optim.Adam(model.parameters(), lr=3e-3), start
    for _ in range(200):
        log_p = completion_logprobs(model, world)
        objective = expected(log_p, gold) - beta * divergence(log_p, reference)
        reached = torch.maximum(reached, objective.detach())  # steps overshoot
        optimizer.zero_grad()
        (-objective).backward()
        optimizer.step()
    assert start < best - 0.3
    assert best - 1e-2 < reached < best + 1e-5


@pytest.mark.parity
def test_divergence_of_scipy():
    p, q = random_policy(0), random_policy(1)
    peer = rel_entr(p.double().exp().numpy(), q.double().exp().numpy()).sum(axis=1).mean()
    ours = divergence(p, q)
    assert_parity(
        ours,
        peer,
        of="llmguide.post_training.toy.frontier.divergence",
        against="scipy.special.rel_entr",
        atol=1e-5,
    )


def test_frontier_rises_and_the_proxy_is_hacked():
    reference = (WORLD.gold / 0.7).log_softmax(dim=1)
    points = frontier(reference, WORLD.proxy, [10, 3, 1, 0.5, 0.2, 0.05], WORLD)
    assert [p.kl for p in points] == sorted(p.kl for p in points)
    assert [p.proxy for p in points] == sorted(p.proxy for p in points)
    gold = [p.gold for p in points]
    start = point(reference, reference, WORLD)
    assert start.kl == pytest.approx(0, abs=1e-6)
    assert max(gold) > start.gold + 0.5  # at first the proxy helps
    assert gold[-1] < start.gold - 5  # then it is hacked


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 500), st.integers(0, 100))
def test_best_of_n_is_a_distribution_within_the_bound(n, seed):
    reference = random_policy(seed)
    log_p = best_of_n(reference, WORLD.gold, n)
    torch.testing.assert_close(log_p.exp().sum(dim=1), torch.ones(4).double(), atol=1e-5, rtol=0)
    assert -1e-5 <= divergence(log_p, reference.double()) <= best_of_n_kl(n) + 1e-5
    without_ties = torch.rand(WORLD.gold.shape, generator=generator(seed))
    kl = divergence(best_of_n(reference, without_ties, n), reference.double()).item()
    assert kl <= best_of_n_kl(n) + 1e-5
    if n <= 10:  # far fewer draws than completions: the bound is the value
        assert kl == pytest.approx(best_of_n_kl(n), abs=0.02)


def test_best_of_n_by_drawing():
    reference = (WORLD.gold / 0.7).log_softmax(dim=1)
    n, size = 4, 20_000
    prompts = torch.zeros(size * n, dtype=torch.long)
    draws = sample_completions(reference, prompts, generator()).view(size, n)
    rewards = WORLD.gold[0][draws].amax(dim=1)
    exact = (best_of_n(reference, WORLD.gold, n)[0].exp() * WORLD.gold[0]).sum()
    assert abs(rewards.mean() - exact) < 4 * rewards.std() / size**0.5


def test_best_of_n_kl_by_hand():
    assert best_of_n_kl(2) == pytest.approx(log(2) - 0.5)
