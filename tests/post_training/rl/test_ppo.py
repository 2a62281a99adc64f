from copy import deepcopy
from dataclasses import replace
from itertools import product
from math import inf, log, nan

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from tests.seed import SEED
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.post_training.rl.grpo import GRPOConfig, GRPOTrainer
from llmguide.post_training.rl.policy_gradient import (
    clipped_surrogate,
    is_clipped,
    kl_estimate,
    masked_mean,
    whiten,
)
from llmguide.post_training.rl.ppo import PPOConfig, PPOTrainer, ValueModel
from llmguide.post_training.rl.ppo_losses import (
    adapt_kl_coef,
    explained_variance,
    gae,
    penalized_rewards,
    ppo_policy_loss,
    ppo_value_loss,
)
from llmguide.post_training.rl.rollout import completion_logprobs, rollout

V = 5
SMALL = ModelConfig(vocab_size=V, context_length=8, n_layers=1, d_model=16, n_heads=2)


@pytest.fixture
def unchecked(monkeypatch):
    """The checks of shapes take twice the time of a step of a model this small."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_mask(*shape: int, seed: int = 0) -> Tensor:
    """Holes and padding on both sides, and a True at least in each row."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[..., shape[-1] // 2] = True
    return mask


def lively_policy(seed: int = SEED, **changes) -> nn.Module:
    torch.manual_seed(seed)
    model = build(replace(SMALL, **changes))
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(std=0.3)
    return model


# By hand


def test_gae_of_a_masked_completion_by_hand():
    # gamma 1/2, lambda 1/2; the tool's token in the middle and the padding are passed over:
    # second token: 4 + 0 - 2 = 2; first: 1 + 2 / 2 - 6 = -4, and -4 + 2 / 4 = -3.5
    rewards = torch.tensor([[1.0, 100.0, 4.0, 100.0]])
    values = torch.tensor([[6.0, nan, 2.0, 100.0]])
    mask = torch.tensor([[True, False, True, False]])
    advantages, returns = gae(rewards, values, gamma=0.5, lam=0.5, mask=mask)
    assert advantages.tolist() == [[-3.5, 0.0, 2.0, 0.0]]
    assert returns.tolist() == [[2.5, 0.0, 4.0, 0.0]]


def test_rewards_are_shaped_by_hand():
    scores, kl = torch.tensor([2.0, -1.0]), torch.tensor([[0.5, 1.0, nan], [0.0, -2.0, 4.0]])
    mask = torch.tensor([[True, True, False], [True, False, True]])
    shaped = penalized_rewards(scores, kl, mask, kl_coef=0.5)
    assert shaped.tolist() == [[-0.25, 1.5, 0.0], [0.0, 0.0, -3.0]]
    ended = torch.tensor([True, False])
    shaped = penalized_rewards(scores, kl, mask, kl_coef=0.0, ended=ended, missing_eos_penalty=3.0)
    assert shaped.tolist() == [[0.0, 2.0, 0.0], [0.0, 0.0, -4.0]]


def test_an_empty_completion_has_no_place_for_its_score():
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match=r"completions \[1\] are empty"):
        penalized_rewards(torch.zeros(2), torch.zeros(2, 2), mask, kl_coef=0.1)


def test_clipping_by_hand():
    # ratios 3/2, 1/2 and 1.1 with advantages of both signs; bounds 0.8 and 1.2
    logprobs = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1, 1.1]).log()
    advantages = torch.tensor([2.0, -2.0, 2.0, -2.0, 2.0, -2.0])
    losses = clipped_surrogate(logprobs, torch.zeros(6), advantages)
    torch.testing.assert_close(losses, torch.tensor([-2.4, 3.0, -1.0, 1.6, -2.2, 2.2]))
    clipped = is_clipped(logprobs, torch.zeros(6), advantages)
    assert clipped.tolist() == [True, False, False, True, False, False]
    wider = clipped_surrogate(logprobs, torch.zeros(6), advantages, clip_eps_high=0.4)
    torch.testing.assert_close(wider[0].item(), -2.8)


def test_controller_settles_at_the_target():
    kl_coef = 1.0
    for _ in range(400):  # a policy whose KL falls as its price rises
        kl_coef = adapt_kl_coef(kl_coef, 3.0 / kl_coef, target=6.0)
    assert kl_coef == pytest.approx(0.5, rel=1e-3)


# Parity


@pytest.mark.parity
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.0), (0.9, 1.0), (0.0, 0.5)])
def test_gae_equals_torchrl(gamma, lam):
    """Completions of several lengths; torchrl gets each as an episode that ends with its last token."""
    from torchrl.objectives.value.functional import (  # noqa: PLC0415  # takes seconds to import
        generalized_advantage_estimate,
    )

    B, T = 7, 11
    rewards, values = drawn(B, T, seed=1), drawn(B, T, seed=2)
    lengths = torch.tensor([1, 2, 5, 8, 10, 11, 11])
    mask = torch.arange(T) < lengths[:, None]
    done = torch.arange(T) == lengths[:, None] - 1
    following = torch.cat([values[:, 1:], torch.zeros(B, 1)], dim=1)
    parts = (part[..., None] for part in (values, following, rewards, done))
    peer = generalized_advantage_estimate(gamma, lam, *parts)
    ours = gae(rewards, values, gamma=gamma, lam=lam, mask=mask)
    names = {"against": "torchrl.objectives.value.functional.generalized_advantage_estimate", "atol": 2e-6}
    for a, b in zip(ours, peer, strict=True):
        assert_parity(
            a, b.squeeze(-1).masked_fill(~mask, 0.0), of="llmguide.post_training.rl.ppo_losses.gae", **names
        )


@pytest.mark.parity
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_losses_and_gradients_equal_torchrl(scale):
    from tensordict import TensorDict  # noqa: PLC0415  # takes seconds to import
    from tensordict.nn import TensorDictModule  # noqa: PLC0415
    from torch.distributions import Categorical  # noqa: PLC0415
    from torchrl.modules import ProbabilisticActor  # noqa: PLC0415
    from torchrl.objectives import ClipPPOLoss  # noqa: PLC0415

    B, T = 6, 7
    mask = some_mask(B, T)
    logits, seen = drawn(B, T, V, seed=1, scale=scale), drawn(B, T, seed=2)
    tokens = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(3))
    old = Categorical(logits=logits + drawn(B, T, V, seed=4, scale=0.3)).log_prob(tokens)
    advantages, returns, old_values = (drawn(B, T, seed=seed) for seed in (5, 6, 7))

    ours = logits.clone().requires_grad_(), seen.clone().requires_grad_()
    distribution = Categorical(logits=ours[0])
    logprobs = distribution.log_prob(tokens)
    our_losses = (
        ppo_policy_loss(logprobs, old, advantages, mask, clip_eps=0.2),
        ppo_value_loss(ours[1], old_values, returns, mask, clip_eps=0.2),
        -masked_mean(distribution.entropy(), mask),
    )
    sum(our_losses).backward()

    peer = logits[mask].clone().requires_grad_(), seen[mask].clone().requires_grad_()
    actor = ProbabilisticActor(
        TensorDictModule(nn.Identity(), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=Categorical,
    )
    critic = TensorDictModule(nn.Identity(), in_keys=["seen"], out_keys=["state_value"])
    loss = ClipPPOLoss(
        actor, critic, clip_epsilon=0.2, clip_value=0.2, loss_critic_type="l2", entropy_coeff=1.0,
        critic_coeff=0.5, normalize_advantage=False,
    )  # fmt: skip
    columns = {"advantage": advantages, "value_target": returns, "state_value": old_values}
    batch = {name: part[mask][:, None] for name, part in columns.items()}
    batch |= {"observation": peer[0], "seen": peer[1][:, None]}
    batch |= {"action": tokens[mask], "action_log_prob": old[mask]}
    out = loss(TensorDict(batch, [int(mask.sum())]))
    peer_losses = out["loss_objective"], out["loss_critic"], out["loss_entropy"]
    sum(peer_losses).backward()

    names = ("ppo.ppo_policy_loss", "ppo.ppo_value_loss", "policy_gradient.masked_mean")
    for of, a, b in zip(names, our_losses, peer_losses, strict=True):
        assert_parity(
            a, b, of=f"llmguide.post_training.rl.{of}", against="torchrl.objectives.ClipPPOLoss", atol=1e-6
        )
    for of, a, b in zip(("ppo_policy_loss", "ppo_value_loss"), ours, peer, strict=True):
        against = "torchrl.objectives.ClipPPOLoss"
        assert_parity(
            a.grad[mask], b.grad, of=f"llmguide.post_training.rl.ppo.{of}", against=against, atol=1e-7
        )
        assert (a.grad[~mask] == 0).all()
    ours_clipped = masked_mean(is_clipped(logprobs, old, advantages).float(), mask)
    log_ratio = (logprobs - old)[mask].exp()
    assert (
        ours_clipped <= out["clip_fraction"]
    )  # theirs counts ratios out of bounds that still have a gradient
    outside = ((log_ratio - 1).abs() > 0.2).float().mean()
    torch.testing.assert_close(out["clip_fraction"], outside)
    explained = explained_variance(old_values, returns, mask)
    expected = 1 - (returns - old_values)[mask].var() / returns[mask].var()
    torch.testing.assert_close(explained, expected)


# Properties


@given(st.integers(1, 9), st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_gae_passes_over_holes_as_if_they_were_not_there(T, seed, gamma, lam):
    rewards, values, mask = drawn(3, T, seed=seed), drawn(3, T, seed=seed + 1), some_mask(3, T, seed=seed)
    advantages, returns = gae(rewards, values, gamma=gamma, lam=lam, mask=mask)
    assert (advantages[~mask] == 0).all()
    assert (returns[~mask] == 0).all()
    for row in range(3):
        kept = mask[row]
        alone = gae(rewards[row, kept][None], values[row, kept][None], gamma=gamma, lam=lam)
        torch.testing.assert_close(advantages[row, kept], alone[0][0])
        torch.testing.assert_close(returns[row, kept], alone[1][0])


def test_gae_with_lambda_1_is_the_sum_of_what_comes_minus_the_value():
    rewards, values = drawn(4, 6), drawn(4, 6, seed=1)
    _, returns = gae(rewards, values, gamma=1.0, lam=1.0)
    torch.testing.assert_close(returns, rewards.flip(1).cumsum(1).flip(1))


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_estimates_average_to_the_divergence_and_their_gradients_to_what_is_said(seed):
    """Means over all tokens instead of samples: k1 and k3 give KL(p || q) exactly."""
    logits = drawn(7, seed=seed).double().requires_grad_()
    log_q = drawn(7, seed=seed + 1).double().log_softmax(-1)
    log_p = logits.log_softmax(-1)
    p, q = log_p.exp().detach(), log_q.exp()
    forward, backward = (p * (log_p - log_q)).sum(), (q * (log_q - log_p)).sum()
    for kind in ("k1", "k3"):
        torch.testing.assert_close((p * kl_estimate(log_p, log_q, kind)).sum(), forward)
    assert (kl_estimate(log_p, log_q, "k3") >= 0).all()

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, logits, retain_graph=True)[0]

    exact = {"k1": torch.zeros(7).double(), "k2": gradient((log_p.exp() * (log_p - log_q)).sum())}
    exact["k3"] = gradient(backward)
    for kind, expected in exact.items():
        torch.testing.assert_close(gradient((p * kl_estimate(log_p, log_q, kind)).sum()), expected)


def test_small_divergences_survive_float32():
    """e^d - 1 - d loses them if it is written that way."""
    d = torch.tensor([1e-3], dtype=torch.float64)
    exact = (d**2 / 2 + d**3 / 6).item()
    assert kl_estimate(torch.zeros(1), d.float(), "k3").item() == pytest.approx(exact, rel=0.05)


@given(st.integers(2, 40), st.integers(0, 1000), st.floats(0.1, 1000), st.floats(-100, 100))
@settings(max_examples=50, deadline=None)
def test_whitened_values_have_mean_0_and_variance_1_whatever_they_were(n, seed, scale, shift):
    values, mask = scale * drawn(n, seed=seed).double() + shift, some_mask(n, seed=seed)
    mask[:2] = True
    values[~mask] = nan
    white, variance = whiten(values, mask), values[mask].var().item()
    assert white[mask].mean().abs() < 1e-6
    assert white[mask].var().item() == pytest.approx(variance / (variance + 1e-8), abs=1e-6)
    assert (white[~mask] == 0).all()


def test_whitening_of_equal_and_of_single_values():
    assert whiten(torch.full((3,), 7.0)).tolist() == [0, 0, 0]
    assert whiten(torch.tensor([7.0])).tolist() == [0]
    assert whiten(torch.tensor([7.0]), torch.tensor([False])).tolist() == [0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("extreme", [0.0, 30.0, 1e4, inf])
def test_extreme_log_probabilities_leave_losses_and_gradients_finite(dtype, extreme):
    logprobs = torch.tensor([[-extreme, 0.0, -1.0, nan]], dtype=dtype).requires_grad_()
    old = torch.tensor([[0.0, -min(extreme, 1e4), -1.0, nan]], dtype=dtype)
    mask = torch.tensor([[True, True, True, False]])
    for sign in (1, -1):
        advantages = sign * torch.tensor([[1.0, 1.0, 0.0, nan]], dtype=dtype)
        loss = ppo_policy_loss(logprobs.float(), old.float(), advantages.float(), mask)
        (gradient,) = torch.autograd.grad(loss, logprobs)
        assert loss.isfinite()
        assert gradient.isfinite().all()
        assert gradient[0, 3] == 0


def test_padding_has_no_part_in_losses_and_gradients():
    mask = some_mask(4, 6)
    parts = [drawn(4, 6, seed=seed) for seed in range(3)]
    spoiled = [part.masked_fill(~mask, nan).requires_grad_() for part in parts]
    clean = [part.clone().requires_grad_() for part in parts]
    for loss in (ppo_policy_loss, ppo_value_loss):
        a, b = loss(*spoiled, mask), loss(*clean, mask)
        torch.testing.assert_close(a, b)
        grads = torch.autograd.grad(a, spoiled[0])[0], torch.autograd.grad(b, clean[0])[0]
        torch.testing.assert_close(*grads)


def test_unclipped_first_step_is_the_policy_gradient():
    logits = drawn(3, 4, V).requires_grad_()
    tokens, advantages, mask = torch.randint(V, (3, 4)), drawn(3, 4, seed=1), some_mask(3, 4)
    logprobs = logits.log_softmax(-1).gather(2, tokens[..., None]).squeeze(-1)
    ours = torch.autograd.grad(
        ppo_policy_loss(logprobs, logprobs.detach(), advantages, mask), logits, retain_graph=True
    )
    plain = torch.autograd.grad(-(logprobs * advantages)[mask].mean(), logits)
    torch.testing.assert_close(ours[0], plain[0])


@pytest.mark.usefixtures("unchecked")
def test_unknown_kinds_are_named():
    with pytest.raises(ValueError, match="kind='k4' must be one of k1, k2, k3"):
        kl_estimate(torch.zeros(1), torch.zeros(1), "k4")
    for wrong in (
        {"kl_kind": "k4"},
        {"lam": 1.5},
        {"n_epochs": 0},
        {"temperature": 0.0},
        {"precision": "float16"},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PPOConfig(**{"n_steps": 1, "batch_size": 1, "max_new_tokens": 1} | wrong)


# The whole, where the optimum is known


def all_completions(policy: nn.Module, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Every completion to the prompt 0, and its log-probability."""
    ids = torch.tensor([[0, *completion] for completion in product(range(V), repeat=n_tokens)])
    with torch.no_grad():
        log_p = policy(ids[:, :-1]).log_softmax(-1).gather(2, ids[:, 1:, None])
    return ids[:, 1:], log_p.sum((1, 2))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("seed", "shares_trunk"),
    [
        (0, True),
        *(pytest.param(*other, marks=pytest.mark.nightly) for other in ((0, False), (1, True), (2, True))),
    ],
)
def test_ppo_finds_the_optimum_of_the_regularized_objective(seed, shares_trunk):
    """All 25 completions of two tokens are listed; the best policy is pi_0 exp(r / beta), normalized."""
    policy, beta = lively_policy(seed), 1.0
    reference = deepcopy(policy)
    _, start = all_completions(reference, 2)
    # rare completions earn more, so that the optimum is far from the start whatever the seed
    table = torch.randn(V, V) - start.view(V, V) / 2
    trunk = policy if shares_trunk else deepcopy(policy)
    # the distance that is left at the end is sampling noise, and falls with the root of batch_size
    config = PPOConfig(
        n_steps=60, batch_size=512, max_new_tokens=2, lr=0.01, min_lr_ratio=0.0, n_epochs=2,
        kl_coef=beta, value_clip=inf,
    )  # fmt: skip
    ppo = PPOTrainer(
        policy=policy,
        value_model=ValueModel(trunk),
        reward=lambda rollouts: table[rollouts.completions[:, 0], rollouts.completions[:, 1]],
        reference_model=reference,
        config=config,
    )
    history = ppo.train([[0]])
    best = (start + table.flatten() / beta).softmax(0)
    _, end = all_completions(policy, 2)
    assert (start.exp() - best).abs().sum() / 2 > 0.15
    assert (end.exp() - best).abs().sum() / 2 < 0.08  # total variation
    optimum = beta * (start + table.flatten() / beta).logsumexp(0)  # of reward minus beta KL
    first, last = ((log_p.exp() * (table.flatten() - beta * (log_p - start))).sum() for log_p in (start, end))
    assert 0 <= optimum - last < (optimum - first) / 10
    # at the optimum r - beta log(pi / pi_0) is the same for every completion, and the value model knows it
    assert history[-1]["kl"] == pytest.approx((best * (best.log() - start)).sum().item(), abs=0.3)
    assert history[0]["kl"] == pytest.approx(0, abs=1e-5)


def small_ppo(**changes) -> PPOTrainer:
    policy = lively_policy()
    defaults = {"n_steps": 6, "batch_size": 8, "max_new_tokens": 4, "lr": 0.01, "eos_id": 2}
    config = PPOConfig(**defaults | {"n_minibatches": 2, "kl_target": 1.0, "checkpoint_every": 2} | changes)
    return PPOTrainer(
        policy=policy,
        value_model=ValueModel(policy),
        reward=lambda rollouts: (rollouts.completions == 3).float().sum(dim=1),
        reference_model=deepcopy(policy),
        config=config,
    )


PROMPTS = [[1], [1, 3], [4, 0, 1]]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    torch.manual_seed(7)
    whole = small_ppo()
    torch.manual_seed(8)
    whole.train(PROMPTS)

    class Killed(Exception):  # noqa: N818  # it is no error
        pass

    class Killer:
        def log(self, step, values):
            if step == 5:
                raise Killed

        def text(self, step, text):
            pass

    torch.manual_seed(7)
    first = small_ppo()
    torch.manual_seed(8)
    with pytest.raises(Killed):
        first.train(PROMPTS, folder=tmp_path, logger=Killer())
    second = small_ppo()
    second.train(PROMPTS, folder=tmp_path)
    assert second.history == whole.history
    assert second.kl_coef == whole.kl_coef
    for a, b in zip(whole.trained.parameters(), second.trained.parameters(), strict=True):
        assert a.equal(b)


def test_first_step_metrics_are_those_of_an_untouched_policy():
    ppo = small_ppo(n_epochs=1, n_minibatches=1, kl_target=None)
    metrics = ppo.step(torch.tensor([[1], [4]]))
    assert metrics["clip_fraction"] == 0
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["kl"] == pytest.approx(0, abs=1e-5)
    assert metrics["explained_variance"] == 0  # the value head starts at 0
    assert 0 < metrics["entropy"] <= log(V)
    assert set(metrics) == {
        *("reward", "kl", "kl_coef", "length", "ended", "explained_variance", "policy_loss"),
        *("value_loss", "entropy", "clip_fraction", "approx_kl", "grad_norm"),
    }


def test_a_shared_trunk_gives_the_values_of_a_separate_one():
    policy = lively_policy()
    rollouts = rollout(policy, torch.tensor([[1, 2]]), 3, n_completions=4, keep_states=True)
    value = ValueModel(policy)
    nn.init.normal_(value.head.weight)
    plain = value(policy.hidden(rollouts.ids))[:, 1:-1]
    torch.testing.assert_close(value(rollouts.states), plain, atol=1e-5, rtol=1e-5)


def test_only_a_rollout_for_a_head_on_the_policy_keeps_hidden_states():
    shared, policy = small_ppo(), lively_policy()
    separate = PPOTrainer(
        policy=policy,
        value_model=ValueModel(deepcopy(policy)),
        reward=shared.reward,
        reference_model=deepcopy(policy),
        config=shared.config,
    )
    grpo = GRPOTrainer(
        policy=policy, reward=shared.reward, config=GRPOConfig(n_steps=1, batch_size=1, max_new_tokens=4)
    )
    prompts = torch.tensor([[1], [3]])
    kept = [trainer.generate(prompts, None)[0].states.shape for trainer in (shared, separate, grpo)]
    assert [shape[2] for shape in kept] == [policy.config.d_model, 0, 0]


def test_reference_is_frozen_and_left_alone():
    ppo = small_ppo(n_steps=2)
    before = deepcopy(ppo.reference_model.state_dict())
    ppo.train(PROMPTS)
    assert all(value.equal(before[name]) for name, value in ppo.reference_model.state_dict().items())
    assert all(p.grad is None for p in ppo.reference_model.parameters())
    with pytest.raises(ValueError, match="reference_model is the policy itself"):
        PPOTrainer(
            policy=ppo.policy,
            value_model=ppo.value_model,
            reward=ppo.reward,
            reference_model=ppo.policy,
            config=ppo.config,
        )


def test_bad_rewards_stop_the_run():
    ppo = small_ppo()
    ppo.reward = lambda rollouts: torch.full((len(rollouts.ids),), nan)
    with pytest.raises(ValueError, match="one finite number for each"):
        ppo.step(torch.tensor([[1]]))


def test_a_reward_may_return_a_list():
    scores = []
    for convert in (torch.tensor, list):
        torch.manual_seed(0)
        ppo = small_ppo()
        ppo.reward = lambda rollouts, convert=convert: convert([float(n) for n in rollouts.mask.sum(1)])
        scores.append(ppo.step(torch.tensor([[1]]))["reward"])
    assert scores[0] == scores[1] > 0


def test_in_bfloat16_the_rollout_is_rounded_and_the_weights_are_not():
    ppo, rollouts = small_ppo(precision="bfloat16", n_epochs=1, n_minibatches=1), []
    reward = ppo.reward
    ppo.reward = lambda each: reward(rollouts.append(each) or each)
    exact = deepcopy(ppo.policy)
    metrics = ppo.step(torch.tensor(PROMPTS[:1] * 8))
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-3)  # of the update, which is rounded as well
    error = (completion_logprobs(exact, rollouts[0])[0] - rollouts[0].logprobs).abs().max()
    assert 1e-4 < error < 0.1
    assert {p.dtype for p in ppo.trained.parameters()} == {torch.float32}


def test_temperature_is_part_of_the_policy():
    ppo = small_ppo(temperature=0.5, n_epochs=1, n_minibatches=1)
    metrics = ppo.step(torch.tensor([[1], [4]]))
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-6)
    rollouts = rollout(ppo.policy, torch.tensor([[1]]), 2, temperature=0.5)
    torch.testing.assert_close(
        completion_logprobs(ppo.policy, rollouts, temperature=0.5)[0], rollouts.logprobs
    )
