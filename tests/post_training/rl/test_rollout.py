from dataclasses import replace
from math import inf

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.test_models import CONFIGS, lively, tokens

from llmguide.models import build
from llmguide.post_training.rl.rollout import Rollout, completion_logprobs, completion_states, join, rollout

NAMES = ["gpt", "llama", "mistral", "bloom", "mixtral"]
LEFT = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]]).bool()


def policy(name="gpt"):
    return lively(build(CONFIGS[name]))


def draw(name="gpt", seed=0, **options) -> Rollout:
    options = {
        "attention_mask": LEFT,
        "eos_id": 5,
        "keep_states": True,
        "generator": torch.Generator().manual_seed(seed),
    } | options
    return rollout(policy(name), tokens(3, 4), 7, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_what_was_kept_is_what_a_forward_pass_gives(name, temperature):
    """Row by row, without padding and cache, by the plain definition."""
    model = policy(name)
    rollouts = draw(name, n_completions=2, temperature=temperature)
    logprobs, entropies = completion_logprobs(model, rollouts, temperature=temperature)
    torch.testing.assert_close(rollouts.logprobs, logprobs, atol=2e-5, rtol=1e-5)
    states = completion_states(model, rollouts)
    torch.testing.assert_close(rollouts.states[rollouts.mask], states[rollouts.mask], atol=2e-5, rtol=1e-5)
    for row in range(len(rollouts.ids)):
        prompt, completion = rollouts.prompt(row), rollouts.completion(row)
        logits = model(torch.tensor([prompt + completion]))[0, len(prompt) - 1 : -1] / temperature
        expected = torch.distributions.Categorical(logits=logits)
        n = len(completion)
        torch.testing.assert_close(
            logprobs[row, :n], expected.log_prob(torch.tensor(completion)), atol=2e-5, rtol=1e-5
        )
        torch.testing.assert_close(entropies[row, :n], expected.entropy(), atol=2e-5, rtol=1e-5)
        assert (logprobs[row, n:] == 0).all()
        assert (rollouts.logprobs[row, n:] == 0).all()


def test_completions_end_with_the_first_end_of_text():
    rollouts = draw(n_completions=40)
    lengths = rollouts.mask.sum(dim=1)
    assert 0 < rollouts.ended.sum() < 120
    for row in range(120):
        completion = rollouts.completion(row)
        assert len(completion) == lengths[row] >= 1
        assert 5 not in completion[:-1]
        assert rollouts.ended[row] == (completion[-1] == 5)
        assert rollouts.ended[row] or len(completion) == 7
        assert (rollouts.completions[row, len(completion) :] == 5).all()
        assert rollouts.prompt(row) == rollouts.prompt(row - row % 40)
    assert rollouts.attention_mask[:, 4:].equal(rollouts.mask)
    assert rollouts.prompt_length == 4


def test_drawing_stops_when_all_rows_have_ended():
    model = policy()
    with torch.no_grad():
        model.tokens.weight[5] = 30 * model.final_norm.bias / model.final_norm.bias.norm()
        model.final_norm.weight.zero_()
    rollouts = rollout(model, tokens(3, 4), 7, eos_id=5)
    assert rollouts.completions.tolist() == [[5]] * 3
    assert rollouts.ended.all()


def test_the_first_of_several_stop_tokens_ends_a_completion():
    rollouts = draw(eos_id=(5, 3), n_completions=40)
    for row in range(len(rollouts.ids)):
        *before, last = rollouts.completion(row)
        assert not {5, 3} & {*before}
        assert rollouts.ended[row] == (last in (5, 3))
        assert rollouts.ended[row] or len(before) == 6
    assert {5, 3} <= {rollouts.completion(row)[-1] for row in range(len(rollouts.ids))}


def test_without_end_of_text_all_have_the_full_length():
    rollouts = draw(eos_id=None)
    assert rollouts.mask.all()
    assert not rollouts.ended.any()


def test_the_same_seed_draws_the_same():
    a, b, c = draw(seed=1), draw(seed=1), draw(seed=2)
    assert all(x.equal(y) for x, y in zip(a, b, strict=True))
    assert not a.ids.equal(c.ids)


def test_tokens_are_drawn_from_the_distribution_of_the_policy():
    model = policy()
    rollouts = rollout(
        model, tokens(1, 4), 1, n_completions=20_000, generator=torch.Generator().manual_seed(0)
    )
    p = model(tokens(1, 4))[0, -1].softmax(-1)
    drawn = rollouts.completions.flatten().bincount(minlength=len(p)) / 20_000
    assert (drawn - p).abs().max() < 4 * (p * (1 - p) / 20_000).sqrt().max()  # four standard errors


def test_gradients_flow_through_what_a_rollout_kept():
    model = policy()
    rollouts = draw()
    logprobs, entropies = completion_logprobs(model, rollouts)
    ((logprobs - rollouts.logprobs).exp() * rollouts.mask + entropies).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    head = torch.nn.Linear(12, 1)
    head(rollouts.states).sum().backward()
    assert head.weight.grad is not None


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_joined_rollouts_give_the_same_log_probabilities(prompt_lengths, seed):
    model = policy()
    parts = [
        rollout(
            model, tokens(2, length, seed=seed), 1 + length % 4, eos_id=3,
            generator=torch.Generator().manual_seed(seed),
        )
        for length in prompt_lengths
    ]  # fmt: skip
    joined = join(parts)
    logprobs, _ = completion_logprobs(model, joined)
    torch.testing.assert_close(logprobs, joined.logprobs, atol=2e-5, rtol=1e-5)
    rows = [(part, row) for part in parts for row in range(2)]
    for i, (part, row) in enumerate(rows):
        assert joined.prompt(i) == part.prompt(row)
        assert joined.completion(i) == part.completion(row)
    one = joined.take(torch.tensor([len(rows) - 1]))
    assert one.completion(0) == parts[-1].completion(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"n_completions": 0}, "n_completions=0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": -inf}, "temperature=-inf"),
        ({"max_new_tokens": 40}, "exceed the 32 positions"),
        ({"attention_mask": ~LEFT}, "pad on the left"),
    ],
)
def test_wrong_requests_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        rollout(policy(), tokens(3, 4), **{"max_new_tokens": 2} | options)


def test_dropout_is_refused():
    model = build(replace(CONFIGS["gpt"], dropout=0.1))
    with pytest.raises(ValueError, match=r"dropout=0.1 is active"):
        rollout(model, tokens(3, 4), 2)
