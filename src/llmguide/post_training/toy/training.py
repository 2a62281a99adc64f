"""What the trainers need in the tiny world: datasets, rewards and hyperparameters."""

import torch
from jaxtyping import Float
from torch import Tensor

from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.preferences.reward_model import RewardModel
from llmguide.post_training.rl.grpo import GRPOConfig
from llmguide.post_training.rl.grpo_losses import Variant
from llmguide.post_training.rl.ppo import PPOConfig
from llmguide.post_training.rl.rollout import Rollout
from llmguide.post_training.rl.trainer import Reward
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.post_training.toy.world import EOS, PairIndices, World, demonstrations
from llmguide.training.config import TrainConfig


def centered(rewards: Float[Tensor, "P N"], reference: Float[Tensor, "P N"]) -> Float[Tensor, "P N"]:
    """Shift the rewards of each prompt to a mean of 0 under the reference model."""
    return rewards - (reference.exp() * rewards).sum(dim=1, keepdim=True)


def demonstrated(world: World, n: int, generator: torch.Generator) -> SFTDataset:
    """Sample demonstrations as training data."""
    prompts, completions = demonstrations(world, n, generator)
    examples = [
        completion([prompt], said)
        for prompt, said in zip(world.prompts[prompts].tolist(), world.token_ids(completions), strict=True)
    ]
    return SFTDataset(examples)


def preference_data(world: World, pairs: PairIndices) -> PreferenceDataset:
    """Tokenize pairs given by number, for a reward model and for DPO alike."""
    prompts = [[prompt] for prompt in world.prompts[pairs.prompts].tolist()]
    chosen, rejected = world.token_ids(pairs.chosen), world.token_ids(pairs.rejected)
    return PreferenceDataset(
        [
            PreferencePair(completion(prompt, w), completion(prompt, l))
            for prompt, w, l in zip(prompts, chosen, rejected, strict=True)  # noqa: E741  # as in the formulas
        ]
    )


@torch.no_grad()
def score_completions(model: RewardModel, world: World) -> Float[Tensor, "P N"]:
    """Score every completion of every prompt; the reward model is left in evaluation mode."""
    P, N = world.gold.shape
    ids = world.rows(torch.arange(P).repeat_interleave(N), torch.arange(N).repeat(P))
    attention_mask = torch.cat([torch.ones(P * N, 1, dtype=torch.bool), world.mask.repeat(P, 1)], dim=1)
    rewards: Tensor = model.eval()(ids, attention_mask=attention_mask)
    return rewards.view(P, N)


def table_reward(world: World, table: Float[Tensor, "P N"]) -> Reward:
    """Make a reward function for rollouts from a table of rewards."""

    def reward(rollouts: Rollout) -> Float[Tensor, " B"]:
        asked = rollouts.ids[:, rollouts.prompt_length - 1].contiguous()
        return table[torch.searchsorted(world.prompts, asked), world.find(rollouts.completions)]

    return reward


def fine_tuning(n_steps: int) -> TrainConfig:
    """Return hyperparameters for supervised fine-tuning on demonstrations."""
    return _config(n_steps, 5e-3)


def preference_learning(n_steps: int) -> TrainConfig:
    """Return hyperparameters for a reward model and for DPO."""
    return _config(n_steps, 1e-3)


def ppo_choices(world: World, n_steps: int, *, kl_coef: float = 0.1) -> PPOConfig:
    """Return hyperparameters for PPO."""
    return PPOConfig(
        n_steps=n_steps,
        batch_size=128,
        max_new_tokens=world.completions.shape[1],
        eos_id=EOS,
        lr=5e-4,
        kl_coef=kl_coef,
        value_clip=float("inf"),
    )


def grpo_choices(
    world: World, n_steps: int, *, kl_coef: float = 0.05, group_size: int = 8, variant: Variant = "grpo"
) -> GRPOConfig:
    """Return hyperparameters for GRPO."""
    return GRPOConfig(
        n_steps=n_steps,
        batch_size=16,
        group_size=group_size,
        variant=variant,
        max_new_tokens=world.completions.shape[1],
        eos_id=EOS,
        lr=5e-4,
        kl_coef=kl_coef,
    )


def _config(n_steps: int, lr: float) -> TrainConfig:
    return TrainConfig(
        n_steps=n_steps,
        batch_size=64,
        lr=lr,
        log_every=1,
        weight_decay=0.0,
        max_spike=float("inf"),
    )
