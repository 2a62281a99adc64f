"""What the world says exactly is checked by hand, by sampling, and by conditions that an optimum meets."""

import itertools
from math import exp

import pytest
import torch

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.models import build
from llmguide.post_training.toy.frontier import expected
from llmguide.post_training.toy.world import (
    EOS,
    PROMPTS,
    WORDS,
    completion_logprobs,
    demonstrations,
    list_completions,
    preferences,
    sample_completions,
    tiny_world,
)

WORLD = tiny_world()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_policy(seed=0, spread=1.0):
    return (torch.randn(WORLD.gold.shape, generator=generator(seed)) * spread).log_softmax(dim=1)


def lively(world=WORLD, seed=0):
    torch.manual_seed(seed)
    model = build(world.config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model


def test_all_completions_are_listed_once():
    completions, mask = list_completions(4, 3)
    by_hand = {
        tuple(words[: words.index(0)]) if 0 in words else words
        for words in itertools.product(range(4), repeat=3)
    }
    listed = [tuple(w for w in row if w != EOS) for row in completions.tolist()]
    assert len(listed) == len(set(listed)) == 1 + 3 + 9 + 27
    assert set(listed) == by_hand
    assert mask.sum(dim=1).tolist() == [min(3, len(words) + 1) for words in listed]
    assert WORLD.completions.shape == (1 + 7 + 49 + 343 + 2401, 4)


@pytest.mark.parametrize("seed", [0, 1])
def test_probabilities_sum_to_one_and_equal_those_of_single_completions(seed):
    model = lively(seed=seed)
    with torch.no_grad():
        log_p = completion_logprobs(model, WORLD)
        torch.testing.assert_close(log_p.exp().sum(dim=1), torch.ones(4), atol=1e-5, rtol=0)
        prompts, completions = torch.randint(4, (50,)), torch.randint(2801, (50,))
        ids = WORLD.rows(prompts, completions)
        each = model(ids[:, :-1]).log_softmax(dim=-1).gather(2, ids[:, 1:, None]).squeeze(2)
    one_by_one = (each * WORLD.mask[completions]).sum(dim=1)
    torch.testing.assert_close(log_p[prompts, completions], one_by_one, atol=2e-5, rtol=1e-5)


def test_find_reverses_completions():
    numbers = torch.randperm(2801)
    assert WORLD.find(WORLD.completions[numbers]).equal(numbers)
    behind = WORLD.completions[:8].clone()  # "." and the completions of one word
    behind[:, 2:] = 5
    assert WORLD.find(behind).equal(torch.arange(8))
    assert WORLD.find(WORLD.completions[:8, :2]).equal(torch.arange(8))  # cut where all have ended


def test_rewards_by_hand():
    def worth(prompt, text):
        ids = torch.tensor([[WORDS.index(word) for word in text.split()]])
        number = WORLD.find(ids).item()
        assert WORLD.text(number) == text
        place = PROMPTS.index(WORDS.index(prompt))
        return WORLD.gold[place, number].item(), WORLD.proxy[place, number].item()

    assert worth("cat", "the cat sleeps .") == (4, 4)
    assert worth("sleeps", "the cat sleeps .") == (4, 4)
    assert worth("dog", "the cat sleeps .") == (3, 3)  # not about the dog
    assert worth("cat", "the cat barks .") == (3, 3)  # not true
    assert worth("cat", ".") == (1, 1)
    assert worth("cat", "cat cat cat cat") == (1 - 3, 1)
    assert worth("cat", "the wow cat .") == (2, 4.5)
    assert worth("cat", "wow wow wow wow") == (-3 - 4, 6)


def test_draws_follow_their_distributions():
    prompts, completions = demonstrations(WORLD, 20_000, generator(), temperature=0.7)
    rewards = WORLD.gold[prompts, completions]
    exact = expected((WORLD.gold / 0.7).log_softmax(dim=1), WORLD.gold)
    assert abs(rewards.mean() - exact) < 4 * rewards.std() / 20_000**0.5
    ids = WORLD.rows(prompts[:3], completions[:3])
    assert ids.shape == (3, 5)
    assert IGNORE_INDEX not in ids

    uniform = torch.zeros_like(WORLD.gold).log_softmax(dim=1)
    pairs = preferences(WORLD, WORLD.gold, uniform, 20_000, generator())
    gaps = WORLD.gold[pairs.prompts, pairs.chosen] - WORLD.gold[pairs.prompts, pairs.rejected]
    one_apart = gaps[gaps.abs() == 1]
    share = (one_apart > 0).float().mean().item()
    assert share == pytest.approx(exp(1) / (1 + exp(1)), abs=4 * (0.2 / len(one_apart)) ** 0.5)


def test_completions_are_sampled_like_torch_multinomial_in_float64():
    logprobs = torch.randn(2, 2801, generator=generator(0)).log_softmax(dim=1)
    prompts = torch.randint(2, (1000,), generator=generator(1))
    ours = sample_completions(logprobs, prompts, generator(2))
    peer_generator = generator(2)
    for prompt in (0, 1):
        rows = prompts == prompt
        peer = torch.multinomial(
            logprobs[prompt].double().exp(), int(rows.sum()), replacement=True, generator=peer_generator
        )
        assert torch.equal(ours[rows], peer)
