r"""Proximal policy optimization (PPO) for language models: the trainer with its four models.

| model | argument | role | trained |
| --- | --- | --- | --- |
| policy $\pi$ | `policy` | generates completions | yes |
| value model $V$ | `value_model` | predicts the return from each state; may share the policy's trunk | yes |
| reward model $r$ | `reward` | scores full completions | no |
| reference model $\pi_0$ | `reference_model` | the policy before training, for the KL penalty | no |

The formulas and their sources are in `llmguide.post_training.rl.ppo_losses`.

Differs from TRL 1.12, the last release with PPO: there the value model starts as a copy of the reward model;
here its head starts at 0.

Leaves out: whitening of rewards, several rollouts per step, early stopping on KL.

Glossary: ``B`` completions, ``B_p`` prompts, ``T_p`` tokens of the padded prompts, ``D`` model width.
"""

from dataclasses import dataclass
from typing import Any, cast, get_args

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.models.decoder_protocol import Decoder, require_own
from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.post_training.rl.policy_gradient import (
    KLKind,
    PerToken,
    is_clipped,
    kl_estimate,
    masked_mean,
    whiten,
)
from llmguide.post_training.rl.policy_update import update_policy
from llmguide.post_training.rl.ppo_losses import (
    adapt_kl_coef,
    explained_variance,
    gae,
    penalized_rewards,
    ppo_policy_loss,
    ppo_value_loss,
)
from llmguide.post_training.rl.rollout import Rollout, completion_logprobs, completion_states
from llmguide.post_training.rl.trainer import Metrics, PolicyTrainer, Reward


class ValueModel(nn.Module):
    """A linear head that predicts the value of a state from the hidden state of a trunk.

    With the policy itself as the trunk, both share one forward pass, and the values of a rollout cost almost
    nothing. The head starts at 0.

    Args:
        trunk: A decoder of `llmguide.models`.

    Raises:
        ValueError: The trunk is a model of transformers, which `llmguide.from_hf` converts.

    >>> import torch
    >>> from llmguide import ModelConfig, ValueModel, build
    >>> policy = build(ModelConfig(vocab_size=7, context_length=8, n_layers=1, d_model=12, n_heads=2))
    >>> ValueModel(policy)(policy.hidden(torch.tensor([[1, 2, 3]]))).tolist()
    [[0.0, 0.0, 0.0]]
    """

    def __init__(self, trunk: nn.Module):
        super().__init__()
        require_own(trunk)
        self.trunk: Any = trunk  # torch's Module has no types for its attributes
        self.head = nn.Linear(cast(Decoder, trunk).config.d_model, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, states: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
        """Predict the value of each hidden state of the trunk."""
        out: Tensor = self.head(states).squeeze(-1)
        return out.float()


@dataclass(frozen=True, kw_only=True)
class PPOConfig(PolicyTrainerConfig):
    """Hyperparameters of a PPO run, which also has those of its base `PolicyTrainerConfig`.

    The fields listed here have the defaults of TRL 1.12.

    Attributes:
        n_epochs: Epochs over a rollout; several, because generating it is the expensive part.
        kl_coef: KL coefficient beta, 0 or above: reward subtracted per nat.
        kl_kind: Estimator of the KL divergence; k1 is the log-ratio of policy and reference at each token.
        kl_target: KL divergence in nats per completion toward which kl_coef adapts; None: it stays fixed.
        gamma: Discount factor in [0, 1]; 1, because completions are short and only their end is scored.
        lam: Lambda of generalized advantage estimation, in [0, 1].
        clip_eps: Clip range of the policy ratio.
        value_clip: Clip range of the values, on the scale of the returns; inf: none.
        value_coef: Weight of the value loss; small, so that the policy dominates a shared trunk.
        entropy_coef: Weight of an entropy bonus; 0, because the KL penalty already prevents collapse.
        missing_eos_penalty: Penalty subtracted from the score of a completion that hits the token limit.

    >>> from llmguide import PPOConfig
    >>> PPOConfig(n_steps=10, batch_size=8, max_new_tokens=16).n_epochs
    4
    """

    n_epochs: int = 4
    kl_coef: float = 0.05
    kl_kind: KLKind = "k1"
    kl_target: float | None = None
    gamma: float = 1.0
    lam: float = 0.95
    clip_eps: float = 0.2
    value_clip: float = 0.2
    value_coef: float = 0.1
    entropy_coef: float = 0.0
    missing_eos_penalty: float = 0.0

    def __post_init__(self) -> None:
        """Reject values out of range."""
        super().__post_init__()
        if self.kl_kind not in get_args(KLKind):
            raise ValueError(f"kl_kind={self.kl_kind!r} must be one of {', '.join(get_args(KLKind))}")
        if not self.kl_coef >= 0:
            raise ValueError(f"kl_coef={self.kl_coef} must be at least 0")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be between 0 and 1")


class PPOTrainer(PolicyTrainer[PPOConfig]):
    """Train a policy with PPO: generate, score, subtract the KL penalty, estimate advantages, update.

    Args:
        policy: The decoder to train.
        value_model: Value model that predicts returns; its trunk may be the policy.
        reward: Function that scores the completions of a rollout, such as
            `llmguide.post_training.preferences.reward_model.RewardModel.score`.
        reference_model: Model that the KL penalty is measured from, usually a copy of the initial policy.
        config: Training hyperparameters.

    >>> from llmguide import ModelConfig, PPOConfig, PPOTrainer, ValueModel, build
    >>> from copy import deepcopy
    >>> policy = build(ModelConfig(vocab_size=5, context_length=8, n_layers=1, d_model=12, n_heads=2))
    >>> def count_threes(rollouts):
    ...     return (rollouts.completions == 3).float().sum(dim=1)
    >>> ppo = PPOTrainer(policy=policy, value_model=ValueModel(policy), reward=count_threes,
    ...                  reference_model=deepcopy(policy),
    ...                  config=PPOConfig(n_steps=20, batch_size=32, max_new_tokens=2, lr=0.01))
    >>> history = ppo.train([[1]])
    >>> history[0]["reward"] < 1.0 < history[-1]["reward"]  # from 2 x 1/5 toward 2
    True
    """

    def __init__(
        self,
        *,
        policy: nn.Module,
        value_model: ValueModel,
        reward: Reward,
        reference_model: nn.Module,
        config: PPOConfig,
    ):
        trained = nn.ModuleDict({"policy": policy, "value": value_model})
        super().__init__(policy, trained, reference_model, reward, config)
        self.value_model = value_model
        self.keep_states = value_model.trunk is policy
        self.kl_coef = config.kl_coef

    def step(
        self, prompts: Int[Tensor, "B_p T_p"], attention_mask: Bool[Tensor, "B_p T_p"] | None = None
    ) -> Metrics:
        """Generate completions, train on them, and append the metrics to the history.

        Returns:
            ``reward``: mean score; ``kl``: mean KL of a completion from the reference model, in nats;
            ``kl_coef``; ``length``: mean tokens per completion; ``ended``: fraction of completions with an
            end-of-text token; ``explained_variance`` of the returns by the values before the update; and,
            averaged over the optimizer steps, ``policy_loss``, ``value_loss``, ``entropy`` per token,
            ``clip_fraction`` of the tokens, ``approx_kl`` from the policy of the rollout, ``grad_norm``.
        """
        config = self.config
        rollouts, scores = self.generate(prompts, attention_mask)
        mask, old_logprobs = rollouts.mask, rollouts.logprobs
        old_values = self.data_parallel_map(self._values, rollouts)
        ref_logprobs = self.data_parallel_map(self.reference_logprobs, rollouts)
        rewards = penalized_rewards(
            scores,
            kl_estimate(old_logprobs, ref_logprobs, config.kl_kind),
            mask,
            kl_coef=self.kl_coef,
            ended=None if config.eos_id is None else rollouts.ended,
            missing_eos_penalty=config.missing_eos_penalty,
        )
        advantages, returns = gae(rewards, old_values, gamma=config.gamma, lam=config.lam, mask=mask)
        advantages = whiten(advantages, mask)

        def minibatch_loss(rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return self.loss(rollouts.take(rows), old_values[rows], advantages[rows], returns[rows])

        update_metrics = update_policy(
            self.trained,
            self.optimizer,
            mask,
            minibatch_loss,
            config,
            step=len(self.history) + 1,
            per_token=True,
        )
        kl = (old_logprobs - ref_logprobs).sum(dim=1).mean().item()
        metrics = {
            "reward": scores.mean().item(),
            "kl": kl,
            "kl_coef": self.kl_coef,
            "length": mask.sum(dim=1).float().mean().item(),
            "ended": rollouts.ended.float().mean().item(),
            "explained_variance": explained_variance(old_values, returns, mask).item(),
            **update_metrics,
        }
        if config.kl_target is not None:
            self.kl_coef = adapt_kl_coef(self.kl_coef, kl, target=config.kl_target)
        self.history.append(metrics)
        return metrics

    def loss(
        self, rollouts: Rollout, old_values: PerToken, advantages: PerToken, returns: PerToken
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Compute the loss of one minibatch (policy, value and entropy terms) and its metrics."""
        config, mask = self.config, rollouts.mask
        states = completion_states(self.policy, rollouts)
        shares_trunk = self.value_model.trunk is self.policy
        value_states = states if shares_trunk else completion_states(self.value_model.trunk, rollouts)
        logprobs, entropies = completion_logprobs(
            self.policy, rollouts, temperature=config.temperature, states=states
        )
        policy_loss = ppo_policy_loss(logprobs, rollouts.logprobs, advantages, mask, clip_eps=config.clip_eps)
        values = self.value_model(value_states)
        value_loss = ppo_value_loss(values, old_values, returns, mask, clip_eps=config.value_clip)
        entropy = masked_mean(entropies, mask)
        clipped = is_clipped(logprobs, rollouts.logprobs, advantages, clip_eps=config.clip_eps)
        metrics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "clip_fraction": masked_mean(clipped.float(), mask),
            "approx_kl": masked_mean(kl_estimate(rollouts.logprobs, logprobs.detach(), "k3"), mask),
        }
        return policy_loss + config.value_coef * value_loss - config.entropy_coef * entropy, metrics

    def _values(self, rollouts: Rollout) -> PerToken:
        """Predict returns, from the hidden states of the rollout if it kept those of the value model."""
        has_states = rollouts.states.numel() > 0
        states = rollouts.states if has_states else completion_states(self.value_model.trunk, rollouts)
        out: Tensor = self.value_model(states)
        return out

    def state_dict(self) -> dict[str, Any]:
        """Include the (possibly adapted) KL coefficient in the checkpoint."""
        return super().state_dict() | {"kl_coef": self.kl_coef}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        super().load_state_dict(state)
        self.kl_coef = state["kl_coef"]
