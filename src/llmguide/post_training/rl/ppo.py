r"""PPO for language models: rewards of tokens, advantages, losses, and one loop with its four models.

The policy $\pi$ is to earn reward and stay near the reference $\pi_0$:

$$\max_\pi\; \mathbb{E}_{y \sim \pi}\Big[r(x, y) - \beta \log \frac{\pi(y \mid x)}{\pi_0(y \mid x)}\Big]
\quad\text{with the optimum}\quad \pi^*(y \mid x) \propto \pi_0(y \mid x)\, e^{r(x, y) / \beta}$$

A token is an action, an answer an episode. Each token costs its KL term, and the last one earns the score of
the reward model; a value model predicts what is still to come, and generalized advantage estimation turns
both into how much better a token was than expected. The clipped loss then makes good tokens likelier, and
stops where a token has become about 20% likelier than it was when it was drawn.

| model | argument | what it does | trained |
| --- | --- | --- | --- |
| policy $\pi$ | `policy` | answers | yes |
| value $V$ | `value` | predicts the return from each state; may share the policy's trunk | yes |
| reward $r$ | `reward` | scores whole answers | no |
| reference $\pi_0$ | `reference` | what the policy was at the start | no |

References: Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9 (PPO); Schulman et al. 2015,
arXiv:1506.02438, equation 16 (advantages); Ziegler et al. 2019, arXiv:1909.08593, section 2.2 (KL in the
reward, and its controller); Huang et al. 2024, arXiv:2403.17031 (details). What GRPO shares is in
`llmguide.post_training.rl.policy_gradient`.

Differs from TRL 1.12, the last with PPO: there the score stands one token after the end of the answer, with a
value of its own; here the end of the answer is the end of the episode. There the value model starts as a
copy of the reward model; here its head starts at 0.

Leaves out: whitening of rewards, several rollouts a step, early stopping on KL.

Glossary: ``B`` answers, ``T`` tokens of the longest, ``D`` model width; masks are True for the tokens that
count.
"""

from dataclasses import dataclass
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.post_training.rl.policy_gradient import (
    KLKind,
    Mask,
    PerToken,
    clipped_surrogate,
    is_clipped,
    kl_estimate,
    masked_mean,
    whiten,
    zero_masked,
)
from llmguide.post_training.rl.rollout import Rollout, answer_logprobs, answer_states
from llmguide.post_training.rl.trainer import Metrics, PolicyTrainer, PolicyTrainerConfig, Reward


def penalized_rewards(
    scores: Float[Tensor, " B"],
    kl: PerToken,
    mask: Mask,
    *,
    kl_coef: float,
    ended: Bool[Tensor, " B"] | None = None,
    missing_eos_penalty: float = 0.0,
) -> PerToken:
    """Spread what an answer earns over its tokens: each pays for its KL, the last one gets the score.

    Args:
        scores: What the reward model gives a whole answer.
        kl: KL estimate of each token.
        mask: Tokens of the answers.
        kl_coef: Price of a nat.
        ended: Answers that ended by themselves.
        missing_eos_penalty: Taken from the score of those that did not, whose score is of half a text.

    Returns:
        Rewards, 0 where the mask is False.

    Raises:
        ValueError: An answer has no token that its score could go to.

    >>> mask = torch.tensor([[True, True, False]])
    >>> penalized_rewards(torch.tensor([5.0]), torch.tensor([[1.0, 2.0, 9.0]]), mask, kl_coef=0.5).tolist()
    [[-0.5, 4.0, 0.0]]
    """
    if not mask.any(dim=1).all():
        empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"answers {empty} are empty, so their score has no token to go to; leave them out")
    if ended is not None:
        scores = scores - missing_eos_penalty * ~ended
    T = mask.shape[1]
    last = T - 1 - mask.flip(1).int().argmax(dim=1)
    rewards = zero_masked(-kl_coef * kl, mask)
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


@torch.no_grad()
def gae(
    rewards: PerToken, values: PerToken, *, gamma: float, lam: float, mask: Mask | None = None
) -> tuple[PerToken, PerToken]:
    r"""Generalized advantage estimation: how much better each token was than the value model expected.

    $$\delta_t = r_t + \gamma V_{t+1} - V_t, \quad A_t = \delta_t + \gamma \lambda A_{t+1}, \quad
    R_t = A_t + V_t$$

    After its last token an answer has a value of 0. Tokens outside the mask are passed over as if they were
    not there, be they padding after the end or holes in between, such as the output of a tool: the step goes
    from the last token before a hole to the first one after it.

    Args:
        rewards: Of each token.
        values: Prediction before each token.
        gamma: How much a later reward counts; 1, as an answer is short and only its end is scored.
        lam: 1 trusts rewards alone (no bias, much noise), 0 the value model one step ahead.
        mask: Tokens that count; None: all.

    Returns:
        Advantages and returns, which the values are to become; both are 0 outside the mask.

    >>> from llmguide import gae
    >>> rewards, values = torch.tensor([[0.0, 0.0, 4.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    >>> [part.tolist() for part in gae(rewards, values, gamma=1.0, lam=0.5)]  # deltas 1, 1, 1
    [[[1.75, 1.5, 1.0]], [[2.75, 3.5, 4.0]]]
    """
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    advantage = next_value = torch.zeros_like(values[:, 0])
    advantages = torch.zeros_like(values)
    for t in reversed(range(values.shape[1])):
        here = rewards[:, t] + gamma * next_value - values[:, t] + gamma * lam * advantage
        advantage = here.where(mask[:, t], advantage)
        next_value = values[:, t].where(mask[:, t], next_value)
        advantages[:, t] = here
    advantages = zero_masked(advantages, mask)
    return advantages, advantages + zero_masked(values, mask)


def ppo_policy_loss(
    logp: PerToken,
    old_logp: PerToken,
    advantages: PerToken,
    mask: Mask,
    *,
    clip_eps: float = 0.2,
) -> Float[Tensor, ""]:
    """Mean of `clipped_surrogate` over the tokens of all answers.

    Args:
        logp: Log-probabilities now.
        old_logp: When the tokens were drawn.
        advantages: Whitened, as a rule.
        mask: Tokens that count.
        clip_eps: How far a ratio may move from 1 to any gain.

    Returns:
        The loss.

    >>> from llmguide import ppo_policy_loss
    >>> zeros, mask = torch.zeros(1, 2), torch.tensor([[True, True]])
    >>> ppo_policy_loss(zeros, zeros, torch.tensor([[3.0, 1.0]]), mask).item()
    -2.0
    """
    losses = clipped_surrogate(
        zero_masked(logp, mask), zero_masked(old_logp, mask), zero_masked(advantages, mask), clip_eps=clip_eps
    )
    return masked_mean(losses, mask)


def ppo_value_loss(
    values: PerToken, old_values: PerToken, returns: PerToken, mask: Mask, *, clip_eps: float = 0.2
) -> Float[Tensor, ""]:
    r"""Compute the clipped value loss: half the squared error, with values kept within `clip_eps` of the old.

    $\frac{1}{2} \max\big((V - R)^2, (\operatorname{clip}(V, V_{\text{old}} \pm \epsilon) - R)^2\big)$

    Args:
        values: Predictions now.
        old_values: At the time of the rollout.
        returns: Those of `gae`.
        mask: Tokens that count.
        clip_eps: $\epsilon$, on the scale of the returns; inf: no clipping.

    Returns:
        The loss.

    >>> from llmguide import ppo_value_loss
    >>> one = torch.ones(1, 1)
    >>> ppo_value_loss(one, one * 0.0, one, one.bool()).item()  # right, but 0.2 was as far as it might go
    0.32
    """
    values, old_values, returns = (zero_masked(part, mask) for part in (values, old_values, returns))
    bounded = old_values + (values - old_values).clamp(-clip_eps, clip_eps)
    return masked_mean(torch.maximum((values - returns).square(), (bounded - returns).square()), mask) / 2


def adapt_kl_coef(kl_coef: float, kl: float, *, target: float, rate: float = 0.1) -> float:
    r"""Raise the price of KL if there was more of it than wanted, and lower it if there was less.

    $\beta \leftarrow \beta\, (1 + K \operatorname{clip}(\mathrm{KL} / \mathrm{target} - 1, -0.2, 0.2))$
    (Ziegler et al. 2019, section 2.2).

    Args:
        kl_coef: Price of the last step.
        kl: Mean KL of an answer in it, in nats.
        target: KL that is wanted.
        rate: $K$; with 0.1 a step changes the price by 2% at most.

    Returns:
        Price of the next step.

    >>> [adapt_kl_coef(1.0, kl, target=6.0) for kl in (60.0, 6.6, 6.0, 0.0)]
    [1.02, 1.01, 1.0, 0.98]
    """
    return kl_coef * (1 + rate * min(max(kl / target - 1, -0.2), 0.2))


def explained_variance(values: PerToken, returns: PerToken, mask: Mask) -> Float[Tensor, ""]:
    """Share of the variance of the returns that values explain, 1 - var(returns - values) / var(returns).

    Args:
        values: Predictions.
        returns: What came.
        mask: Tokens that count.

    Returns:
        1 for perfect values, 0 for a constant, below 0 for worse than that; NaN if the returns are all equal.

    >>> mask = torch.tensor([[True, True]])
    >>> explained_variance(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 6.0]]), mask).item()  # 1 - 1 / 4
    0.75
    """
    return 1 - (returns - values)[mask].var(correction=0) / returns[mask].var(correction=0)


class ValueModel(nn.Module):
    """A linear head that reads the value of a state off the hidden state of a trunk.

    With the policy itself as the trunk, both share one forward pass, and the values of a rollout cost
    nothing. The head starts at 0.

    Args:
        trunk: A decoder of `llmguide.models`.

    >>> from llmguide.config import ModelConfig
    >>> from llmguide.models import build
    >>> policy = build(ModelConfig(vocab_size=7, context_length=8, n_layers=1, d_model=12, n_heads=2))
    >>> ValueModel(policy)(policy.hidden(torch.tensor([[1, 2, 3]]))).tolist()
    [[0.0, 0.0, 0.0]]
    """

    def __init__(self, trunk: Any):
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.config.d_model, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, states: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
        """Read the value off each hidden state of the trunk."""
        out: Tensor = self.head(states).squeeze(-1)
        return out.float()


@dataclass(frozen=True, kw_only=True)
class PPOConfig(PolicyTrainerConfig):
    """Choices of a PPO run; the defaults are TRL's last ones.

    >>> from llmguide import PPOConfig
    >>> PPOConfig(n_steps=10, batch_size=8, max_new_tokens=16).n_epochs
    4
    """

    n_epochs: int = 4  # a rollout is the costly part
    kl_coef: float = 0.05  # beta: what a nat costs
    kl_kind: KLKind = (
        "k1"  # the one whose mean over the policy's draws is the KL and whose sum is log pi/pi_0
    )
    kl_target: float | None = None  # nats an answer; adapts kl_coef. None: it stays, and the optimum is known
    gamma: float = 1.0  # answers are short, and only their end is scored
    lam: float = 0.95
    clip_eps: float = 0.2
    value_clip: float = 0.2  # on the scale of the returns: widen it with them; inf: none
    value_coef: float = 0.1  # small, so that the trunk that both share belongs to the policy
    entropy_coef: float = 0.0  # the KL term already keeps the policy from collapsing
    missing_eos_penalty: float = 0.0  # taken from the score of an answer that hits the limit

    def __post_init__(self) -> None:
        """Reject what cannot be run."""
        super().__post_init__()
        if self.kl_kind not in get_args(KLKind):
            raise ValueError(f"kl_kind={self.kl_kind!r} must be one of {', '.join(get_args(KLKind))}")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be between 0 and 1")


class PPOTrainer(PolicyTrainer):
    """The loop: answer, score, price the KL, estimate advantages, and take a few clipped steps.

    Args:
        policy: The decoder to train.
        value: Predicts returns; its trunk may be the policy.
        reward: Scores the answers of a rollout, such as
            `llmguide.post_training.preferences.reward_model.RewardModel.score`.
        reference: What the policy may not stray far from: a copy of it from before the training.
        config: How.

    >>> from llmguide import ModelConfig, PPOConfig, PPOTrainer, build
    >>> from copy import deepcopy
    >>> policy = build(ModelConfig(vocab_size=5, context_length=8, n_layers=1, d_model=12, n_heads=2))
    >>> def likes_threes(answers):
    ...     return (answers.answers == 3).float().sum(dim=1)
    >>> ppo = PPOTrainer(policy=policy, value=ValueModel(policy), reward=likes_threes,
    ...                  reference=deepcopy(policy),
    ...                  config=PPOConfig(n_steps=20, batch_size=32, max_new_tokens=2, lr=0.01))
    >>> history = ppo.run([[1]])
    >>> history[0]["reward"] < 1.0 < history[-1]["reward"]  # from 2 x 1/5 towards 2
    True
    """

    def __init__(
        self, *, policy: Any, value: ValueModel, reward: Reward, reference: nn.Module, config: PPOConfig
    ):
        super().__init__(policy, nn.ModuleDict({"policy": policy, "value": value}), reference, reward, config)
        self.value = value
        self.config = config
        self.kl_coef = config.kl_coef

    def step(
        self, prompts: Int[Tensor, "B T_p"], attention_mask: Bool[Tensor, "B T_p"] | None = None
    ) -> Metrics:
        """Answer the prompts, learn from the answers, and append the metrics to the history.

        Returns:
            ``reward``: mean score; ``kl``: mean KL of an answer from the reference, in nats; ``kl_coef``;
            ``length`` and ``ended`` (share) of the answers; ``explained_variance`` of the returns by the
            values before the update; and, averaged over the updates, ``ppo_policy_loss``, ``ppo_value_loss``,
            ``entropy`` of a token, ``clip_fraction`` of tokens, ``approx_kl`` from the policy of the rollout,
            ``grad_norm``.
        """
        config = self.config
        answers, scores = self.answer(prompts, attention_mask)
        mask, old_logp = answers.mask, answers.logprobs
        old_values = self.divided(self._values, answers)
        ref_logp = self.divided(self.reference_logprobs, answers)
        rewards = penalized_rewards(
            scores,
            kl_estimate(old_logp, ref_logp, config.kl_kind),
            mask,
            kl_coef=self.kl_coef,
            ended=None if config.eos_id is None else answers.ended,
            missing_eos_penalty=config.missing_eos_penalty,
        )
        advantages, returns = gae(rewards, old_values, gamma=config.gamma, lam=config.lam, mask=mask)
        advantages = whiten(advantages, mask)

        def loss_of(rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return self.loss(answers.take(rows), old_values[rows], advantages[rows], returns[rows])

        learned = self.learn(mask, loss_of, per_token=True)
        kl = (old_logp - ref_logp).sum(dim=1).mean().item()
        metrics = {
            "reward": scores.mean().item(),
            "kl": kl,
            "kl_coef": self.kl_coef,
            "length": mask.sum(dim=1).float().mean().item(),
            "ended": answers.ended.float().mean().item(),
            "explained_variance": explained_variance(old_values, returns, mask).item(),
            **learned,
        }
        if config.kl_target is not None:
            self.kl_coef = adapt_kl_coef(self.kl_coef, kl, target=config.kl_target)
        self.history.append(metrics)
        return metrics

    def loss(
        self, answers: Rollout, old_values: PerToken, advantages: PerToken, returns: PerToken
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Loss of one minibatch, policy, values and entropy together, and what it shows."""
        config, mask = self.config, answers.mask
        states = answer_states(self.policy, answers)
        is_shared = self.value.trunk is self.policy
        values = self.value(states if is_shared else answer_states(self.value.trunk, answers))
        logp, entropies = answer_logprobs(self.policy, answers, temperature=config.temperature, states=states)
        of_policy = ppo_policy_loss(logp, answers.logprobs, advantages, mask, clip_eps=config.clip_eps)
        of_value = ppo_value_loss(values, old_values, returns, mask, clip_eps=config.value_clip)
        entropy = masked_mean(entropies, mask)
        clipped = is_clipped(logp, answers.logprobs, advantages, clip_eps=config.clip_eps)
        shown = {
            "policy_loss": of_policy,
            "value_loss": of_value,
            "entropy": entropy,
            "clip_fraction": masked_mean(clipped.float(), mask),
            "approx_kl": masked_mean(kl_estimate(answers.logprobs, logp.detach(), "k3"), mask),
        }
        return of_policy + config.value_coef * of_value - config.entropy_coef * entropy, shown

    def _values(self, answers: Rollout) -> PerToken:
        """Predict what comes from the states of the rollout, if they are the trunk's and at hand."""
        at_hand = self.value.trunk is self.policy and answers.states.numel()
        out: Tensor = self.value(answers.states if at_hand else answer_states(self.value.trunk, answers))
        return out

    def state_dict(self) -> dict[str, Any]:
        """Add the price of KL, which may have been adapted."""
        return super().state_dict() | {"kl_coef": self.kl_coef}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`."""
        super().load_state_dict(state)
        self.kl_coef = state["kl_coef"]
