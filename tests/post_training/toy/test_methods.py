"""Short runs of every method: paths start at the reference, never pass the frontier, and repeat exactly."""

import pytest
import torch

from llmguide.post_training.rl.rollout import rollout
from llmguide.post_training.toy.frontier import Point
from llmguide.post_training.toy.methods import Outcome, fine_tune, run_all
from llmguide.post_training.toy.training import table_reward
from llmguide.post_training.toy.world import tiny_world

WORLD = tiny_world()
SHORT = {"n_demonstrations": 300, "n_pairs": 200}


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run_all(WORLD, n_steps=10, **SHORT)


def best_value(reference, beta):
    """The most that true reward minus beta times divergence can be."""
    return beta * (reference + WORLD.gold / beta).logsumexp(dim=1).mean().item()


def test_no_path_passes_the_frontier(outcome):
    assert set(outcome.paths) == {"best-of-n", "PPO", "GRPO", "DPO"}
    for beta in (0.3, 0.7, 1.5, 4.0):
        best = best_value(outcome.reference, beta)
        for points in [*outcome.paths.values(), outcome.true_frontier, outcome.learned_frontier]:
            assert all(p.gold - beta * p.kl <= best + 1e-3 for p in points)


def test_every_method_leaves_the_reference_for_more_reward(outcome):
    for points in outcome.paths.values():
        assert points[0].kl == pytest.approx(0, abs=1e-4)
        assert points[-1].proxy > points[0].proxy + 0.02
        assert points[-1].kl > 0.01
    assert (outcome.reference.exp() * outcome.learned).sum(dim=1).abs().max() < 1e-4


def test_a_run_repeats_and_leaves_no_trace(outcome):
    short = {"n_steps": 1, **SHORT}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    first = run_all(WORLD, seed=1, rater_reward=WORLD.proxy, **short)
    assert torch.rand(1).equal(expected)
    assert torch.get_num_threads() == threads
    again = run_all(WORLD, seed=1, rater_reward=WORLD.proxy, **short)
    assert again.paths == first.paths
    assert run_all(WORLD, seed=2, rater_reward=WORLD.proxy, **short).paths != first.paths
    assert isinstance(first.paths["PPO"][-1], Point)


def test_reward_of_a_rollout_is_that_of_the_table():
    policy = fine_tune(WORLD, 200, torch.Generator().manual_seed(0), n_steps=2)
    prompts = WORLD.prompts.repeat_interleave(5)[:, None]
    rollouts = rollout(policy, prompts, 4, eos_id=0)
    rewards = table_reward(WORLD, WORLD.gold)(rollouts)
    for row, reward in enumerate(rewards.tolist()):
        said = rollouts.completion(row)
        padded = torch.tensor([said + [0] * (4 - len(said))])
        assert reward == WORLD.gold[row // 5, WORLD.find(padded)].item()
