from copy import deepcopy
from dataclasses import replace
from functools import cache
from math import inf, nan
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from tests.post_training.rl.test_ppo import V, all_completions, drawn, lively_policy, some_mask, unchecked  # noqa: F401  # a fixture
from torch import Tensor

from llmguide.models import from_hf
from llmguide.post_training.rl.grpo import GRPOConfig, GRPOTrainer
from llmguide.post_training.rl.grpo_losses import (
    group_advantages,
    grpo_loss,
    has_signal,
    leave_one_out_advantages,
    overlong_penalty,
)
from llmguide.post_training.rl.rollout import Rollout, completion_logprobs

VARIANTS = ["grpo", "dapo", "dr_grpo", "rloo", "gspo", "cispo"]


# By hand


def test_losses_by_hand():
    # ratios 2 and 1/2 for a good completion of two tokens: min(2, 1.2) and 1/2; ratio 2 for a bad one of one
    logprobs = torch.tensor([[2.0, 0.5], [2.0, nan]]).log()
    advantages, mask = torch.tensor([1.0, -1.0]), torch.tensor([[True, True], [True, False]])
    losses = {
        variant: grpo_loss(
            logprobs, torch.zeros(2, 2), advantages, mask, variant=variant, max_length=4
        ).item()
        for variant in VARIANTS
    }
    assert losses["grpo"] == pytest.approx((-0.85 + 2.0) / 2)
    assert losses["dapo"] == pytest.approx((-1.2 - 0.5 + 2.0) / 3)
    assert losses["dr_grpo"] == pytest.approx((-1.7 + 2.0) / 2 / 4)
    assert losses["rloo"] == pytest.approx((-1.0 + 2.0) / 2)  # the ratio of the whole completion is 2 x 1/2
    assert losses["gspo"] == pytest.approx((-1.0 + 2.0) / 2)  # the root of 2 x 1/2
    log2 = 0.6931472  # ratios capped at 1.2, times the log-probability
    assert losses["cispo"] == pytest.approx((-1.2 * log2 + 0.5 * log2 + 1.2 * log2) / 3)
    higher = grpo_loss(logprobs, torch.zeros(2, 2), advantages, mask, variant="dapo", clip_eps_high=0.28)
    assert higher.item() == pytest.approx((-1.28 - 0.5 + 2.0) / 3)


def test_kl_term_by_hand():
    # k3 = 1/2 - 1 - log 1/2 for one token, at a price of 10
    logprobs, ref_logprobs = torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log()
    loss = grpo_loss(
        logprobs, logprobs, torch.zeros(1), torch.ones(1, 1).bool(), ref_logprobs=ref_logprobs, kl_coef=10.0
    )
    assert loss.item() == pytest.approx(10 * 0.1931, abs=1e-3)


# Parity


@cache
def trl_trainer(kind: str) -> Any:
    """TRL's trainer of a tiny Llama, whose rotary positions do not mind how its prompts are padded."""
    from tests import trl_peer  # noqa: PLC0415  # takes seconds to import

    tokenizer = trl_peer.tokenizer()
    torch.manual_seed(0)
    config = trl_peer.transformers.LlamaConfig(
        hidden_size=24, intermediate_size=44, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=64, vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = trl_peer.transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.25)
    path = f"{trl_peer.folder()}/llama-{kind}"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    make, options = {
        "grpo": (trl_peer.trl.GRPOTrainer, trl_peer.trl.GRPOConfig),
        "rloo": (trl_peer.trl.RLOOTrainer, trl_peer.trl.RLOOConfig),
    }[kind]
    peer = make(
        model=trl_peer.transformers.LlamaForCausalLM.from_pretrained(path).eval(),
        args=options(
            output_dir=f"{path}/run", report_to="none", per_device_train_batch_size=8, num_generations=4,
            max_completion_length=6, use_cpu=True, bf16=False, gradient_checkpointing=False, beta=0.07,
        ),
        train_dataset=trl_peer.datasets.Dataset.from_dict({"prompt": trl_peer.PROMPTS}),
        reward_funcs=lambda completions, **_: [float(len(text) % 7) for text in completions],
        processing_class=tokenizer,
    )  # fmt: skip
    peer.current_gradient_accumulation_steps = 1
    return peer


def some_rollouts(n_tokens: int) -> Rollout:
    """Prompts padded on the left, completions of 1 to 6 tokens padded on the right."""
    ids = torch.randint(n_tokens, (8, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6) < torch.tensor([6, 1, 3, 2, 6, 4, 5, 1])[:, None]
    prompt_mask = torch.arange(3) >= torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])[:, None]
    attention_mask = torch.cat([prompt_mask, mask], dim=1)
    return Rollout(ids, attention_mask, mask, drawn(8, 6), drawn(8, 6, 1), mask[:, 0])


def peer_inputs(rollouts: Rollout, advantages: Tensor, old: Tensor, ref: Tensor) -> dict[str, Tensor]:
    return {
        "prompt_ids": rollouts.ids[:, :3],
        "prompt_mask": rollouts.attention_mask[:, :3].long(),
        "completion_ids": rollouts.completions,
        "completion_mask": rollouts.mask.long(),
        "advantages": advantages,
        "old_per_token_logps": old,
        "old_logps": (old * rollouts.mask).sum(dim=1),
        "ref_per_token_logps": ref,
        "num_items_in_batch": rollouts.mask.sum(),
    }


@pytest.mark.parity
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kl_coef", [0.0, 0.07])
@pytest.mark.parametrize("clip_eps_high", [0.2, 0.28])
def test_losses_and_gradients_equal_trl(variant, kl_coef, clip_eps_high):
    peer = trl_trainer("rloo" if variant == "rloo" else "grpo")
    kl_coef = 0.0 if variant == "rloo" else kl_coef  # there it is in the rewards
    peer.beta, peer.loss_type, peer.epsilon_high = kl_coef, variant, clip_eps_high
    if variant != "rloo":
        peer.importance_sampling_level = "sequence" if variant == "gspo" else "token"
    if variant == "gspo":
        peer.loss_type = "grpo"  # with the ratio of the sequence, as its documentation says
    if variant == "cispo":
        peer.epsilon_high = 1 + clip_eps_high  # TRL's is the cap itself
    peer.args.use_bias_correction_kl = False  # DeepSeek-V3.2's factor on the KL, which the papers named lack
    model = from_hf(peer.model)
    rollouts = some_rollouts(model.config.vocab_size)
    logprobs, _ = completion_logprobs(model, rollouts)
    # some ratios beyond the clip on either side, for tokens and for whole completions
    old = logprobs.detach() + drawn(8, 6, seed=3, scale=0.3) * rollouts.mask
    ref, advantages = logprobs.detach() + drawn(8, 6, seed=4, scale=0.5), drawn(8, seed=5)
    loss = grpo_loss(
        logprobs, old, advantages, rollouts.mask, variant=variant, clip_eps_high=clip_eps_high,
        ref_logprobs=ref, kl_coef=kl_coef, max_length=6,
    )  # fmt: skip
    loss.backward()
    peer.model.zero_grad()
    peer.model.train()
    theirs = peer._compute_loss(peer.model, peer_inputs(rollouts, advantages, old, ref))
    theirs.backward()
    against = f"trl.{type(peer).__name__}"
    assert_parity(
        loss, theirs, of="llmguide.post_training.rl.grpo_losses.grpo_loss", against=against, atol=2e-6
    )
    pairs = [
        (model.tokens.weight.grad, peer.model.model.embed_tokens.weight.grad),
        (model.head.weight.grad, peer.model.lm_head.weight.grad),
        (model.final_norm.weight.grad, peer.model.model.norm.weight.grad),
    ]
    for a, b in pairs:
        assert_parity(a, b, of="llmguide.post_training.rl.grpo_losses.grpo_loss", against=against, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_advantages_equal_trl(kind):
    """TRL's own rollout, rewards and advantages; ours from the same rewards."""
    peer = trl_trainer(kind)
    peer.beta = 0.07
    seen = []
    score = peer.reward_funcs[0]
    peer.reward_funcs[0] = lambda completions, **rest: seen.append(score(completions)) or seen[-1]
    peer.model.train()
    torch.manual_seed(0)
    inputs = peer._generate_and_score_completions([{"prompt": "the quick"}] * 4 + [{"prompt": "under"}] * 4)
    peer.reward_funcs[0] = score
    rewards = torch.tensor(seen[0])
    assert has_signal(rewards, 4).all()
    if kind == "grpo":
        ours = group_advantages(rewards, 4)
        assert_parity(
            ours,
            inputs["advantages"],
            of="llmguide.post_training.rl.grpo_losses.group_advantages",
            against="trl.GRPOTrainer",
            atol=1e-6,
        )
        return
    model = from_hf(peer.model)
    mask = inputs["completion_mask"].bool()
    attention_mask = torch.cat([inputs["prompt_mask"].bool(), mask], dim=1)
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    logprobs, _ = completion_logprobs(
        model, Rollout(ids, attention_mask, mask, *[mask.float()] * 2, mask[:, 0])
    )
    # the reference is the model before any step, so that the KL is 0 but for rounding
    ours = leave_one_out_advantages(rewards - 0.07 * (logprobs - logprobs.detach()).sum(dim=1).detach(), 4)
    of = "llmguide.post_training.rl.grpo_losses.leave_one_out_advantages"
    assert_parity(ours, inputs["advantages"], of=of, against="trl.RLOOTrainer", atol=1e-5)
    torch.testing.assert_close(logprobs.sum(dim=1), inputs["old_logps"], atol=1e-4, rtol=1e-4)


# Properties


@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_advantages_of_a_group_add_up_to_0_and_ignore_a_shift(size, n_groups, seed):
    rewards = drawn(size * n_groups, seed=seed).double()
    for advantages in (
        group_advantages(rewards, size),
        group_advantages(rewards, size, scale=False),
        leave_one_out_advantages(rewards, size),
    ):
        assert advantages.view(n_groups, size).sum(dim=1).abs().max() < 1e-9
    torch.testing.assert_close(group_advantages(rewards + 5, size), group_advantages(rewards, size))
    others = [
        (group.sum() - group[i]) / (size - 1) for group in rewards.view(n_groups, size) for i in range(size)
    ]
    torch.testing.assert_close(leave_one_out_advantages(rewards, size), rewards - torch.stack(others))


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 0.9, 1e8])
@pytest.mark.parametrize("size", [3, 4, 7, 8, 16])
def test_equal_rewards_teach_nothing(value, size):
    rewards = torch.full((2 * size,), value)
    assert group_advantages(rewards, size).tolist() == [0] * 2 * size
    assert leave_one_out_advantages(rewards, size).tolist() == [0] * 2 * size
    assert not has_signal(rewards, size).any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_and_empty_completions_have_no_part(variant):
    mask = some_mask(4, 6)
    mask[2] = False
    logprobs, old, ref = (drawn(4, 6, seed=seed).masked_fill(~mask, nan) for seed in range(3))
    options = {"variant": variant, "max_length": 6}
    options |= {} if variant == "rloo" else {"ref_logprobs": ref, "kl_coef": 0.1}
    leaf = logprobs.clone().requires_grad_()
    loss = grpo_loss(leaf, old, drawn(4), mask, **options)
    loss.backward()
    assert loss.isfinite()
    assert leaf.grad.isfinite().all()
    assert (leaf.grad[~mask] == 0).all()


def test_dr_grpo_weighs_all_tokens_alike_and_grpo_does_not():
    logprobs = torch.zeros(2, 4).requires_grad_()
    mask = torch.tensor([[True, False, False, False], [True, True, True, True]])
    weights = {}
    for variant in ("grpo", "dapo", "dr_grpo"):
        loss = grpo_loss(logprobs, logprobs.detach(), torch.ones(2), mask, variant=variant, max_length=4)
        weights[variant] = -torch.autograd.grad(loss, logprobs)[0][:, 0]
    assert weights["grpo"].tolist() == [0.5, 0.125]
    assert weights["dapo"].tolist() == pytest.approx([0.2, 0.2])
    assert weights["dr_grpo"].tolist() == [0.125, 0.125]


@pytest.mark.parametrize("reach", [30.0, 1e4])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_ratios_stay_finite(dtype, variant, reach):
    logprobs = torch.tensor([[reach, -reach]], dtype=dtype).requires_grad_()
    zeros = torch.zeros(1, 2, dtype=dtype)
    for advantage in (1.0, 0.0, -1.0):
        loss = grpo_loss(
            logprobs, zeros, torch.tensor([advantage]), torch.ones(1, 2).bool(), variant=variant,
            max_length=2, ref_logprobs=zeros, kl_coef=0.0 if variant == "rloo" else 0.04,
        )  # fmt: skip
        (gradient,) = torch.autograd.grad(loss, logprobs)
        assert loss.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_cispo_keeps_the_gradient_of_a_token_whose_ratio_is_capped(advantage):
    gradients = {}
    for variant in ("dapo", "cispo"):
        logprobs = torch.tensor([[2.0]]).log().requires_grad_()
        loss = grpo_loss(
            logprobs, torch.zeros(1, 1), torch.tensor([advantage]), torch.ones(1, 1).bool(), variant=variant
        )
        (gradient,) = torch.autograd.grad(loss, logprobs)
        gradients[variant] = gradient.item()
    assert gradients["dapo"] == pytest.approx(0.0 if advantage > 0 else 2.0)
    assert gradients["cispo"] == pytest.approx(-1.2 * advantage)


def test_overlong_completions():
    lengths = torch.tensor([0, 10, 11, 15, 20, 99])
    assert overlong_penalty(lengths, max_length=20, margin=10).tolist() == pytest.approx(
        [0, 0, -0.1, -0.5, -1, -1]
    )


def test_wrong_uses_are_named():
    ones, mask = torch.ones(4, 2), torch.ones(4, 2).bool()
    with pytest.raises(ValueError, match="4 rewards and group_size=3"):
        group_advantages(ones[:, 0], 3)
    with pytest.raises(ValueError, match="group_size=1"):
        leave_one_out_advantages(ones[:, 0], 1)
    with pytest.raises(ValueError, match="pass max_length"):
        grpo_loss(ones, ones, ones[:, 0], mask, variant="dr_grpo")
    with pytest.raises(ValueError, match="ref_logprobs missing"):
        grpo_loss(ones, ones, ones[:, 0], mask, kl_coef=0.1)
    with pytest.raises(ValueError, match="for rloo put KL in the rewards"):
        grpo_loss(ones, ones, ones[:, 0], mask, variant="rloo", ref_logprobs=ones, kl_coef=0.1)
    with pytest.raises(ValueError, match="needs a reference_model"):
        GRPOTrainer(policy=lively_policy(), reward=len, config=config(kl_coef=0.1))
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=V, n_embd=4, n_layer=1, n_head=1)
    )
    with pytest.raises(ValueError, match=r"convert it: llmguide.from_hf\(model\)"):
        GRPOTrainer(policy=theirs, reward=len, config=config())
    with pytest.raises(ValueError, match="compared within their group"):
        config(group_size=1)


# The whole


def config(**changes) -> GRPOConfig:
    defaults = {"n_steps": 4, "batch_size": 2, "max_new_tokens": 3, "lr": 0.01}
    return GRPOConfig(**defaults | {"group_size": 4} | changes)


@pytest.mark.usefixtures("unchecked")
def test_rloo_finds_the_optimum_of_the_regularized_objective():
    """With the KL in the reward the optimum is pi_0 exp(r / beta), normalized; 25 completions are listed."""
    policy, beta = lively_policy(), 1.0
    reference = deepcopy(policy)
    _, start = all_completions(reference, 2)
    # rare completions earn more, so that the optimum is far from the start whatever the seed
    table = torch.randn(V, V) - start.view(V, V) / 2
    rloo = GRPOTrainer(
        policy=policy,
        reference_model=reference,
        reward=lambda rollouts: table[rollouts.completions[:, 0], rollouts.completions[:, 1]],
        config=config(
            variant="rloo", n_steps=60, group_size=128, batch_size=1, max_new_tokens=2, kl_coef=beta,
            lr=0.01, min_lr_ratio=0.0, n_epochs=2,
        ),
    )  # fmt: skip
    rloo.train([[0]])
    _, end = all_completions(policy, 2)
    best = (start + table.flatten() / beta).softmax(0)
    assert (start.exp() - best).abs().sum() / 2 > 0.15
    assert (end.exp() - best).abs().sum() / 2 < 0.06


@pytest.mark.usefixtures("unchecked")
def test_kl_in_the_loss_pulls_towards_the_divergence_from_the_reference():
    """k3 as a loss: pi maximizes c E[r] - beta KL(pi_0 || pi), so pi = beta pi_0 / (m - c r).

    c = (G - 1) / G, because a completion is part of the mean that it is compared with; m makes the sum 1.
    """
    policy, beta, size = lively_policy(), 0.3, 128
    reference, table = deepcopy(policy), torch.linspace(-0.5, 0.5, V)
    grpo = GRPOTrainer(
        policy=policy,
        reference_model=reference,
        reward=lambda rollouts: table[rollouts.completions[:, 0]],
        config=config(
            variant="dr_grpo", n_steps=60, group_size=size, batch_size=1, max_new_tokens=1, kl_coef=beta,
            lr=0.02, min_lr_ratio=0.0,
        ),
    )  # fmt: skip
    grpo.train([[0]])
    p0, p = (all_completions(model, 1)[1].double().exp() for model in (reference, policy))
    gain = (size - 1) / size * table.double()
    low, high = gain.max(), gain.max() + 100
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (beta * p0 / (middle - gain)).sum() > 1 else (low, middle)
    best, other = beta * p0 / (high - gain), (p0.log() + gain / beta).softmax(0)
    assert (p - best).abs().sum() / 2 < 0.03
    assert (p - other).abs().sum() / 2 > 0.06  # what the KL of PPO would give


@pytest.mark.parametrize(
    "variant", [VARIANTS[0], *(pytest.param(name, marks=pytest.mark.nightly) for name in VARIANTS[1:])]
)
def test_a_resumed_run_equals_an_uninterrupted_one(variant, tmp_path):
    def new(n_steps: int) -> GRPOTrainer:
        torch.manual_seed(3)
        policy = lively_policy()
        return GRPOTrainer(
            policy=policy,
            reference_model=deepcopy(policy),
            reward=lambda rollouts: (rollouts.completions == 3).any(dim=1).float(),
            config=config(
                variant=variant, n_steps=n_steps, kl_coef=0.1, eos_id=2, n_minibatches=2, n_epochs=2,
                overlong_margin=2, checkpoint_every=2, min_lr_ratio=1.0,
            ),
        )  # fmt: skip

    whole, prompts = new(4), [[1], [1, 3], [4, 0, 1]]
    whole.train(prompts)
    new(2).train(prompts, folder=tmp_path)
    torch.manual_seed(99)
    second = new(4)
    second.train(prompts, folder=tmp_path)
    assert second.history == whole.history
    assert all(a.equal(b) for a, b in zip(whole.policy.parameters(), second.policy.parameters(), strict=True))
    assert set(whole.history[0]) == {
        *("reward", "kl", "informative", "length", "ended", "policy_loss", "entropy", "clip_fraction"),
        *("approx_kl", "grad_norm"),
    }


@pytest.mark.parametrize(("variant", "fraction"), [("grpo", 1.0), ("cispo", 0.0)])
def test_cispo_clips_no_ratio_from_below(variant, fraction):
    policy = lively_policy()
    rollouts = some_rollouts(V)
    logprobs, _ = completion_logprobs(policy, rollouts)
    rollouts = rollouts._replace(logprobs=logprobs.detach() + 1)  # so the ratio is 1 / e
    settings = config(variant=variant, clip_eps=0.2)
    learner = GRPOTrainer(policy=policy, reward=lambda rollouts: [0.0] * 8, config=settings)
    _, metrics = learner.loss(rollouts, -torch.ones(8), rollouts.logprobs)
    assert metrics["clip_fraction"].item() == fraction


def test_no_record_of_a_checkpointed_step_is_lost(tmp_path):
    """The process dies before it logs step 2, after which a checkpoint is due."""

    class Log:
        def __init__(self, dies_at: int | None = None):
            self.dies_at, self.steps = dies_at, []

        def log(self, step: int, values: dict[str, float]) -> None:
            if step == self.dies_at:
                raise KeyboardInterrupt
            self.steps.append(step)

        def text(self, step: int, text: str) -> None: ...

    def run(log: Log) -> None:
        settings = config(checkpoint_every=2)
        learner = GRPOTrainer(policy=lively_policy(), reward=lambda rollouts: [0.0] * 8, config=settings)
        learner.train([[1], [2]], folder=tmp_path, logger=log)

    with pytest.raises(KeyboardInterrupt):
        run(Log(dies_at=2))
    resumed = Log()
    run(resumed)
    assert resumed.steps == [1, 2, 3, 4]


def test_dynamic_sampling_draws_until_the_batch_is_full():
    """Of the prompts 0 to 4 only those below 2 can be answered well or badly; the others give 1 always."""
    policy = lively_policy()
    drawn_prompts = []

    def score(rollouts: Rollout) -> Tensor:
        drawn_prompts.extend(rollouts.ids[::4, 0].tolist())
        return torch.where(rollouts.ids[:, 0] < 2, (torch.arange(len(rollouts.ids)) % 2).float(), 1.0)

    learner = GRPOTrainer(
        policy=policy,
        reward=score,
        config=config(variant="dapo", n_steps=1, batch_size=4, max_prompt_batches=9),
    )
    seen = []
    loss = learner.loss
    learner.loss = lambda rollouts, *rest: seen.append(rollouts.ids[:, 0].tolist()) or loss(rollouts, *rest)
    learner.train([[i] for i in range(5)])
    assert len(seen[0]) == 16
    assert all(first < 2 for first in seen[0])
    assert learner.position == len(drawn_prompts) >= 8
    assert learner.history[0]["informative"] == pytest.approx(
        sum(prompt < 2 for prompt in drawn_prompts) / len(drawn_prompts)
    )
    never = GRPOTrainer(
        policy=policy, reward=lambda rollouts: torch.ones(8), config=config(variant="dapo", n_steps=1)
    )
    before = deepcopy(policy.state_dict())
    never.train([[0]])  # nothing to learn from anywhere: the weights stay
    assert all(value.equal(before[name]) for name, value in policy.state_dict().items())
    assert inf > never.history[0]["grad_norm"] == 0


def test_a_step_without_further_prompts_says_so():
    """Called directly, a step has no source of prompts; DAPO's resampling must not be skipped silently."""
    prompts = torch.ones(2, 1, dtype=torch.long)

    def trainer(**changes) -> GRPOTrainer:
        return GRPOTrainer(
            policy=lively_policy(),
            reward=lambda rollouts: rollouts.completions.float().sum(dim=1),
            config=config(variant="dapo", **changes),
        )

    with pytest.raises(ValueError, match="call train, set next_prompts to a function"):
        trainer().step(prompts)
    assert trainer(max_prompt_batches=1).step(prompts)["informative"] > 0
    resampling = trainer()
    resampling.next_prompts = lambda: (prompts, torch.ones_like(prompts, dtype=torch.bool))
    assert resampling.step(prompts)["informative"] > 0


def test_each_variant_has_the_clip_range_of_its_paper():
    config = GRPOConfig(n_steps=1, batch_size=1, max_new_tokens=1)
    ranges = {name: replace(config, variant=name) for name in VARIANTS}
    assert {name: (it.lower_clip, it.upper_clip) for name, it in ranges.items() if name != "cispo"} == {
        "grpo": (0.2, 0.2),
        "dapo": (0.2, 0.28),
        "dr_grpo": (0.2, 0.2),
        "rloo": (0.2, 0.2),
        "gspo": (3e-4, 4e-4),
    }
    assert 1 + ranges["cispo"].upper_clip == 5
    mine = replace(config, variant="gspo", clip_eps=0.1)
    assert (mine.lower_clip, mine.upper_clip) == (0.1, 0.1)
    assert replace(mine, clip_eps_high=0.3).upper_clip == 0.3
