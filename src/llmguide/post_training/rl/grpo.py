"""Group relative policy optimization (GRPO), DAPO, Dr. GRPO, RLOO, GSPO and CISPO: the trainer.

Like PPO without a value model: each prompt gets a group of completions, and the group is the baseline. The
formulas, a table of the variants and their sources are in `llmguide.post_training.rl.grpo_losses`.

Glossary: ``B`` completions, ``B_p`` prompts, ``T_p`` tokens of the padded prompts, ``G`` completions of a
group.
"""

from dataclasses import dataclass
from math import inf
from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.post_training.rl.grpo_losses import (
    PerCompletion,
    Variant,
    completion_mean,
    group_advantages,
    grpo_loss,
    has_signal,
    leave_one_out_advantages,
    overlong_penalty,
)
from llmguide.post_training.rl.policy_gradient import PerToken, is_clipped, kl_estimate, masked_mean
from llmguide.post_training.rl.policy_update import update_policy
from llmguide.post_training.rl.rollout import Rollout, completion_logprobs, join
from llmguide.post_training.rl.trainer import Metrics, PolicyTrainer, Reward

CLIP = (0.2, 0.2)  # lower and upper clip range of PPO
# Of the variants that differ: Yu et al. 2025, arXiv:2503.14476; Zheng et al. 2025, arXiv:2507.18071; and for
# CISPO a cap of the ratio at 5, from Khatri et al. 2025, arXiv:2510.13786.
CLIP_RANGES = {"dapo": (0.2, 0.28), "gspo": (3e-4, 4e-4), "cispo": (inf, 4.0)}


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(PolicyTrainerConfig):
    """Hyperparameters of a GRPO run, which also has those of its base `PolicyTrainerConfig`.

    Attributes:
        group_size: Completions per prompt G, at least 2; 64 in DeepSeekMath, 8 in TRL.
        variant: Loss and advantages of GRPO or of the variant.
        clip_eps: Lower clip range of the policy ratio; None: that of `CLIP_RANGES`. cispo has no lower bound.
        clip_eps_high: Upper clip range; None: ``clip_eps``, or that of `CLIP_RANGES` if this is None, too.
        kl_coef: KL coefficient beta, 0 or above; 0.04 in DeepSeekMath. 0 is usual with verifiable rewards.
        overlong_margin: Tokens before the limit over which the length penalty grows to -1; 0: no penalty.
        max_prompt_batches: Most batches of prompts that dapo samples per step, to fill it with groups whose
            rewards differ.

    >>> from llmguide import GRPOConfig
    >>> config = GRPOConfig(n_steps=10, batch_size=8, max_new_tokens=16, variant="dapo")
    >>> config.lower_clip, config.upper_clip
    (0.2, 0.28)
    """

    group_size: int = 8
    variant: Variant = "grpo"
    clip_eps: float | None = None
    clip_eps_high: float | None = None
    kl_coef: float = 0.0
    overlong_margin: int = 0
    max_prompt_batches: int = 4

    def __post_init__(self) -> None:
        """Reject values out of range."""
        super().__post_init__()
        if self.variant not in get_args(Variant):
            raise ValueError(f"variant={self.variant!r} must be one of {', '.join(get_args(Variant))}")
        if not self.kl_coef >= 0:
            raise ValueError(f"kl_coef={self.kl_coef} must be at least 0")
        if self.group_size < 2:
            raise ValueError(f"group_size={self.group_size}: completions are compared within their group")

    @property
    def lower_clip(self) -> float:
        """Lower clip range: how far below 1 the policy ratio can fall and still add to the objective."""
        if self.clip_eps is None or self.variant == "cispo":
            return CLIP_RANGES.get(self.variant, CLIP)[0]
        return self.clip_eps

    @property
    def upper_clip(self) -> float:
        """Upper clip range: how far above 1 the policy ratio can rise and still add to the objective."""
        if self.clip_eps_high is not None:
            return self.clip_eps_high
        return CLIP_RANGES.get(self.variant, CLIP)[1] if self.clip_eps is None else self.clip_eps


class GRPOTrainer(PolicyTrainer[GRPOConfig]):
    """Train a policy with GRPO or a variant: generate groups, score, compare within each group, update.

    Args:
        policy: The decoder to train.
        reward: Function that scores the completions of a rollout, such as
            `llmguide.post_training.rl.verifiable_rewards.reward` of a check.
        config: Training hyperparameters.
        reference_model: Model that the KL penalty is measured from; needed if `config.kl_coef` is not 0.

    Raises:
        ValueError: `config.kl_coef` is nonzero, but no reference model was given.

    >>> from llmguide import GRPOConfig, GRPOTrainer, ModelConfig, build
    >>> policy = build(ModelConfig(vocab_size=5, context_length=8, n_layers=1, d_model=12, n_heads=2))
    >>> def count_threes(rollouts):
    ...     return (rollouts.completions == 3).float().sum(dim=1)
    >>> grpo = GRPOTrainer(policy=policy, reward=count_threes,
    ...             config=GRPOConfig(n_steps=20, batch_size=8, max_new_tokens=2, lr=0.03))
    >>> history = grpo.train([[1]])
    >>> history[0]["reward"] < 1.0 < history[-1]["reward"]  # from 2 x 1/5 toward 2
    True
    """

    def __init__(
        self,
        *,
        policy: nn.Module,
        reward: Reward,
        config: GRPOConfig,
        reference_model: nn.Module | None = None,
    ):
        if config.kl_coef and reference_model is None:
            raise ValueError(f"kl_coef={config.kl_coef} needs a reference_model: pass a copy of the policy")
        super().__init__(policy, policy, reference_model, reward, config)

    def step(
        self, prompts: Int[Tensor, "B_p T_p"], attention_mask: Bool[Tensor, "B_p T_p"] | None = None
    ) -> Metrics:
        """Generate completions, train on them, and append the metrics to the history.

        Returns:
            ``reward``: mean score; ``kl``: mean KL of a completion from the reference model in nats, 0
            without one; ``informative``: fraction of the groups whose rewards differ; ``length``: mean tokens
            per completion; ``ended``: fraction of completions with an end-of-text token; and, averaged over
            the optimizer steps, ``policy_loss``, ``entropy`` per token, ``clip_fraction`` of the tokens,
            ``approx_kl`` from the policy of the rollout, ``grad_norm``.

        Raises:
            ValueError: The variant is ``dapo``, which samples further prompts, and there are none.
        """
        config, G = self.config, self.config.group_size
        if config.variant == "dapo" and config.max_prompt_batches > 1 and self.next_prompts is None:
            raise ValueError(
                "variant='dapo' replaces groups of equal rewards by groups of further prompts: call train, "
                "set next_prompts to a function that returns them, or set max_prompt_batches=1"
            )
        rollouts, scores = self.generate(prompts, attention_mask, G)
        all_scores = scores
        if config.variant == "dapo":
            rollouts, scores, all_scores = self._dynamic_sampling(rollouts, scores)
        mask, ref_logprobs = rollouts.mask, rollouts.logprobs
        if self.reference_model is not None:
            ref_logprobs = self.data_parallel_map(self.reference_logprobs, rollouts)
        kl = kl_estimate(rollouts.logprobs, ref_logprobs, "k1").sum(dim=1)
        rewards = scores
        if config.overlong_margin:
            rewards = rewards + overlong_penalty(
                mask.sum(dim=1), max_length=config.max_new_tokens, margin=config.overlong_margin
            )
        if config.variant == "rloo":
            rewards = rewards - config.kl_coef * kl
            advantages = leave_one_out_advantages(rewards, G)
        else:
            advantages = group_advantages(rewards, G, scale=config.variant != "dr_grpo")

        def minibatch_loss(rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return self.loss(rollouts.take(rows), advantages[rows], ref_logprobs[rows])

        update_metrics = update_policy(
            self.trained,
            self.optimizer,
            mask,
            minibatch_loss,
            config,
            step=len(self.history) + 1,
            per_token=config.variant in ("dapo", "cispo"),
        )
        metrics = {
            "reward": all_scores.mean().item(),
            "kl": kl.mean().item(),
            "informative": has_signal(all_scores, G).float().mean().item(),
            "length": mask.sum(dim=1).float().mean().item(),
            "ended": rollouts.ended.float().mean().item(),
            **update_metrics,
        }
        self.history.append(metrics)
        return metrics

    def loss(
        self, rollouts: Rollout, advantages: PerCompletion, ref_logprobs: PerToken
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Compute the loss of one minibatch and its metrics."""
        config, mask = self.config, rollouts.mask
        logprobs, entropies = completion_logprobs(self.policy, rollouts, temperature=config.temperature)
        loss = grpo_loss(
            logprobs,
            rollouts.logprobs,
            advantages,
            mask,
            variant=config.variant,
            clip_eps=config.lower_clip,
            clip_eps_high=config.upper_clip,
            ref_logprobs=ref_logprobs,
            kl_coef=0.0 if config.variant == "rloo" else config.kl_coef,
            max_length=config.max_new_tokens,
        )
        log_ratio = (logprobs - rollouts.logprobs).detach()
        if config.variant == "rloo":
            log_ratio = log_ratio.sum(dim=1, keepdim=True).expand_as(mask)
        elif config.variant == "gspo":
            log_ratio = completion_mean(log_ratio, mask)
        clipped = is_clipped(
            log_ratio,
            torch.zeros_like(log_ratio),
            advantages[:, None].expand_as(mask),
            clip_eps=config.lower_clip,
            clip_eps_high=config.upper_clip,
        )
        metrics = {
            "policy_loss": loss,
            "entropy": masked_mean(entropies, mask),
            "clip_fraction": masked_mean(clipped.float(), mask),
            "approx_kl": masked_mean(kl_estimate(rollouts.logprobs, logprobs.detach(), "k3"), mask),
        }
        return loss, metrics

    def _dynamic_sampling(
        self, rollouts: Rollout, scores: PerCompletion
    ) -> tuple[Rollout, Float[Tensor, " B_kept"], Float[Tensor, " B_all"]]:
        """Drop groups of equal rewards, and generate for further prompts until the batch is full.

        Returns the kept rollouts and their scores, and the scores of all. If no group has unequal rewards,
        the first batch is kept.
        """
        G, batch_size = self.config.group_size, len(scores)
        all_rollouts, all_scores, keep = [rollouts], scores, has_signal(scores, G)
        while keep.sum() < batch_size and len(all_rollouts) < self.config.max_prompt_batches:
            assert self.next_prompts is not None
            more, more_scores = self.generate(*self.next_prompts(), G)
            all_rollouts.append(more)
            all_scores = torch.cat([all_scores, more_scores])
            keep = has_signal(all_scores, G)
        rows = keep.nonzero().flatten()[:batch_size]
        if not len(rows):
            return rollouts, scores, all_scores
        return join(all_rollouts).take(rows), all_scores[rows], all_scores
