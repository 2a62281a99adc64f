r"""Every post-training method of the guide in the tiny world, measured exactly.

A policy is fine-tuned on demonstrations and is the reference model from then on. A rater compares pairs of
its completions. A reward model is trained on the comparisons; best-of-n, PPO and GRPO maximize its reward.
DPO trains on the pairs directly. Each method leaves a curve of exact points: KL divergence from the reference
model against the true reward and against the learned one. The true reward stays below its frontier, the best
that any method can do. Where it falls while the learned reward still rises, the reward model is being
over-optimized (Gao et al. 2022, arXiv:2210.10760).

Everything here is the code of `llmguide.post_training.sft`,
`llmguide.post_training.preferences.reward_model`, `llmguide.post_training.rl.ppo`,
`llmguide.post_training.rl.grpo` and `llmguide.post_training.preferences.dpo`; only data and measurements are
this module's own. A run takes about half a minute on one core.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llmguide.models import build
from llmguide.post_training.preferences.dpo import dpo_loss, preference_objective
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.rl.grpo import GRPOConfig, GRPOTrainer
from llmguide.post_training.rl.ppo import PPOConfig, PPOTrainer, ValueModel
from llmguide.post_training.toy.frontier import Point, best_of_n, frontier, point
from llmguide.post_training.toy.training import (
    centered,
    demonstrated,
    fine_tuning,
    grpo_choices,
    ppo_choices,
    preference_data,
    preference_learning,
    score_completions,
    table_reward,
)
from llmguide.post_training.toy.world import PairIndices, World, completion_logprobs, preferences
from llmguide.training.train import train

BEST_OF_N = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)  # numbers of samples of best-of-n
BETAS = (8.0, 4.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.35, 0.25, 0.15)  # KL coefficients of the frontiers


@dataclass
class KLRewardCurve:
    """Measure a policy every few steps; a logger for `train` and for the reinforcement-learning trainers.

    Attributes:
        points: One point per measurement, the first before training.
    """

    policy: Any
    reference: Tensor
    world: World
    proxy: Tensor
    every: int
    points: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Measure the policy before training."""
        self.measure()

    @torch.no_grad()
    def measure(self) -> None:
        """Append the current point."""
        logprobs = completion_logprobs(self.policy, self.world)
        self.points.append(point(logprobs, self.reference, self.world, self.proxy))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Measure every few steps; the method's own metrics are ignored."""
        if step % self.every == 0:
            self.measure()

    def text(self, step: int, text: str) -> None:
        """Ignore text samples."""


@dataclass(frozen=True)
class Outcome:
    """Exact measurements of one run of all methods.

    Attributes:
        reference: Log-probabilities of the reference model, the fine-tuned policy ``(P, N)``.
        learned: Rewards of the reward model, 0 on average under the reference model ``(P, N)``.
        true_frontier: Optimal policies for the true reward.
        learned_frontier: Optimal policies for the learned reward, which PPO and GRPO approach.
        paths: Points of each method during training, by name.
    """

    reference: Tensor
    learned: Tensor
    true_frontier: list[Point]
    learned_frontier: list[Point]
    paths: dict[str, list[Point]]


def run_all(
    world: World,
    *,
    seed: int = 0,
    rater_reward: Float[Tensor, "P N"] | None = None,
    n_demonstrations: int = 4000,
    n_pairs: int = 2000,
    n_steps: int = 200,
) -> Outcome:
    """Run all methods in one world.

    Args:
        world: Result of `llmguide.post_training.toy.world.tiny_world`.
        seed: Seed of weights, data and sampling. The global random state is restored.
        rater_reward: Reward by which the rater compares pairs; None: the gold reward. With ``world.proxy``
            the rater is flawed, too.
        n_demonstrations: Number of demonstrations for supervised fine-tuning.
        n_pairs: Number of preference pairs. With few, the reward model is wrong where the policy goes.
        n_steps: Training steps of each method.

    Returns:
        Exact measurements.
    """
    rater_reward = world.gold if rater_reward is None else rater_reward
    # half the completions of `llmguide ppo` and `llmguide grpo` at twice their learning rate: half the time
    ppo = replace(ppo_choices(world, n_steps), batch_size=64, lr=1e-3)
    grpo = replace(grpo_choices(world, n_steps), batch_size=8, lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = fine_tune(world, n_demonstrations, generator, n_steps=n_steps)
        with torch.no_grad():
            reference = completion_logprobs(policy, world)
        pairs = preferences(world, rater_reward, reference, n_pairs, generator)
        learned = centered(learn_rewards(world, policy, pairs, n_steps=n_steps), reference)
        best_of_logprobs = [best_of_n(reference, learned, n).float() for n in BEST_OF_N]
        paths = {
            "best-of-n": [point(logprobs, reference, world, learned) for logprobs in best_of_logprobs],
            "PPO": follow(world, policy, reference, learned, ppo),
            "GRPO": follow(world, policy, reference, learned, grpo),
            "DPO": follow_dpo(world, policy, reference, learned, pairs, n_steps=n_steps),
        }
    return Outcome(
        reference,
        learned,
        frontier(reference, world.gold, BETAS, world, learned),
        frontier(reference, learned, BETAS, world, learned),
        paths,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: with matrices of 32 columns, a second one costs more time than it saves."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def fine_tune(world: World, n: int, generator: torch.Generator, *, n_steps: int = 200) -> Any:
    """Build the world's model and fine-tune it on demonstrations."""
    data = demonstrated(world, n, generator)
    model = build(world.config)
    train(model, data, fine_tuning(n_steps))
    return model.eval()


def learn_rewards(
    world: World, policy: Any, pairs: PairIndices, *, n_steps: int = 200
) -> Float[Tensor, "P N"]:
    """Train a reward model, initialized from the policy, and score all completions with it."""
    model = RewardModel(deepcopy(policy))
    train(model, preference_data(world, pairs), preference_learning(n_steps), loss=preference_loss)
    return score_completions(model, world)


def follow(
    world: World,
    policy: Any,
    reference: Float[Tensor, "P N"],
    learned: Float[Tensor, "P N"],
    config: PPOConfig | GRPOConfig,
) -> list[Point]:
    """Train a copy of the policy on the learned reward, with PPO or GRPO.

    Args:
        world: The world.
        policy: Policy to copy, and reference model.
        reference: Log-probabilities of the policy.
        learned: Rewards to maximize.
        config: `ppo_choices` or `grpo_choices`.
    """
    trained = deepcopy(policy)
    path = KLRewardCurve(trained, reference, world, learned, every=max(1, config.n_steps // 20))
    policy_trainer(world, trained, learned, config).train(world.prompts[:, None].tolist(), logger=path)
    return path.points


def policy_trainer(
    world: World, policy: Any, learned: Float[Tensor, "P N"], config: PPOConfig | GRPOConfig
) -> PPOTrainer | GRPOTrainer:
    """Make the trainer of a policy on a table of rewards; a copy of the policy is the reference model."""
    models: dict[str, Any] = {
        "policy": policy,
        "reward": table_reward(world, learned),
        "reference_model": deepcopy(policy),
        "config": config,
    }
    if isinstance(config, PPOConfig):
        return PPOTrainer(**models, value_model=ValueModel(policy))
    return GRPOTrainer(**models)


def follow_dpo(
    world: World,
    policy: Any,
    reference: Float[Tensor, "P N"],
    learned: Float[Tensor, "P N"],
    pairs: PairIndices,
    *,
    n_steps: int = 200,
    beta: float = 0.1,
) -> list[Point]:
    """Train a copy of the policy with DPO on the pairs; the learned reward is only for measurement."""
    trained = deepcopy(policy)
    path = KLRewardCurve(trained, reference, world, learned, every=max(1, n_steps // 20))
    data = preference_data(world, pairs).with_reference(policy, batch_size=256)
    objective = preference_objective(partial(dpo_loss, beta=beta))
    train(trained, data, preference_learning(n_steps), loss=objective, logger=path)
    return path.points
