"""PPO as a stage of a run, which may watch a reward model that the policy is not trained on."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import accumulate
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from llmguide.post_training.rl.ppo import PPOConfig, PPOTrainer, ValueModel
from llmguide.post_training.rl.rollout import Rollout
from llmguide.post_training.rl.trainer import Metrics, Reward
from llmguide.projects.run import DIGITS, Run
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import loggers

POINTS = 20  # most points of a curve in a record, which has many of them


class PPOWithTrueReward(PPOTrainer):
    """PPO that also scores each rollout with a reward model that it is not trained on.

    Args:
        true_reward: Reward model to monitor; its mean score is the metric ``gold``.
        models: Keyword arguments of `PPOTrainer`.
    """

    def __init__(self, *, true_reward: Reward, **models: Any):
        super().__init__(**models)
        self.true_reward = true_reward
        self._true_score = 0.0

    def generate(
        self, prompts: Tensor, attention_mask: Tensor | None, n_completions: int = 1
    ) -> tuple[Rollout, Tensor]:
        """Sample completions and score them with both reward models."""
        rollouts, scores = super().generate(prompts, attention_mask, n_completions)
        self._true_score = torch.as_tensor(self.true_reward(rollouts)).mean().item()
        return rollouts, scores

    def step(self, prompts: Tensor, attention_mask: Tensor | None = None) -> Metrics:
        """Take a step of PPO, and add ``gold`` to its metrics."""
        metrics = super().step(prompts, attention_mask)
        metrics["gold"] = self._true_score  # the history holds the same mapping
        return metrics


def ppo_stage(
    run: Run,
    name: str,
    policy: Any,
    reward: Reward,
    prompts: Sequence[Sequence[int]],
    *,
    true_reward: Reward | None = None,
    **choices: Any,
) -> list[Metrics]:
    """Train a policy with PPO in place, with checkpoints and logs in the folder of the run.

    Args:
        run: Run that the stage belongs to.
        name: Name of the stage, and of its folders under ``checkpoints`` and ``logs``.
        policy: Decoder to train; as it is now, it is the reference model too.
        reward: Reward model.
        prompts: Token ids of each prompt.
        true_reward: Reward model to monitor, which the policy is not trained on.
        choices: Fields of `PPOConfig`.
    """
    config = PPOConfig(
        **choices,
        value_clip=float("inf"),
        checkpoint_every=max(1, choices["n_steps"] // 8),
        seed=run.seed,
    )
    policy.to(run.device)
    torch.manual_seed(run.seed)
    models = {
        "policy": policy,
        "value_model": ValueModel(policy).to(run.device),
        "reward": reward,
        "reference_model": deepcopy(policy),
        "config": config,
    }
    trainer = (
        PPOTrainer(**models) if true_reward is None else PPOWithTrueReward(**models, true_reward=true_reward)
    )
    say(f"{name}: PPO, {config.n_steps} rollouts of {config.batch_size} completions")
    return trainer.train(
        prompts,
        folder=run.output / "checkpoints" / name,
        logger=loggers(run.output / "logs" / name),
    )


def ppo_curves(history: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, list[float]]:
    """Downsample the metrics of a PPO run by averaging them over intervals.

    >>> ppo_curves([{"reward": 1.0}, {"reward": 2.0}], ["reward"])
    {'step': [1, 2], 'reward': [1.0, 2.0]}
    """
    size = -(-len(history) // POINTS)
    parts = [history[first : first + size] for first in range(0, len(history), size)]
    steps: list[float] = [*accumulate(map(len, parts))]
    means = {
        name: [round(fmean(metrics[name] for metrics in part), DIGITS) for part in parts] for name in names
    }
    return {"step": steps, **means}


def scored_at_end(reward_model: Any, end_id: int) -> Reward:
    """Return the reward of a model that has read only whole texts.

    A completion that was cut at the length limit gets the end token in place of its last one before it is
    scored.

    Args:
        reward_model: `RewardModel` trained on whole texts.
        end_id: Id of the token that ends a text.
    """

    def reward(answers: Rollout) -> Tensor:
        ids = answers.ids.clone()
        ids[~answers.ended, -1] = end_id
        scores: Tensor = reward_model.score(answers._replace(ids=ids))
        return scores

    return reward
