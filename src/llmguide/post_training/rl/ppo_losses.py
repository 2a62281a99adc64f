r"""The formulas of PPO for language models: token rewards, advantages, and the two clipped losses.

The policy $\pi$ maximizes reward while a KL penalty keeps it close to the reference model $\pi_0$:

$$\max_\pi\; \mathbb{E}_{y \sim \pi}\Big[r(x, y) - \beta \log \frac{\pi(y \mid x)}{\pi_0(y \mid x)}\Big]
\quad\text{with the optimum}\quad \pi^*(y \mid x) \propto \pi_0(y \mid x)\, e^{r(x, y) / \beta}$$

Each generated token is an action; a full completion is one episode. Every token is charged its KL penalty,
and the last token also receives the reward model's score. A value model predicts the remaining return, and
generalized advantage estimation combines rewards and values into an advantage for each token. The clipped
loss then raises the probability of tokens with a positive advantage, and has no gradient once a token is
about 20% more likely than when it was sampled.

References: Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9 (PPO); Schulman et al. 2015,
arXiv:1506.02438, equation 16 (advantages); Ziegler et al. 2019, arXiv:1909.08593, section 2.2 (KL penalty in
the reward, and its controller); Huang et al. 2024, arXiv:2403.17031 (details). What GRPO shares is in
`llmguide.post_training.rl.policy_gradient`, the trainer in `llmguide.post_training.rl.ppo`.

Differs from TRL 1.12, the last release with PPO: there the score is assigned one token after the end of the
completion, with a value of its own; here the end of the completion is the end of the episode.

Glossary: ``B`` completions, ``T`` tokens of the longest; masks are True for the tokens of the completions.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from llmguide.arguments import checked
from llmguide.post_training.rl.policy_gradient import (
    Mask,
    PerToken,
    clipped_surrogate,
    masked_mean,
    zero_masked,
)


def penalized_rewards(
    scores: Float[Tensor, " B"],
    kl: PerToken,
    mask: Mask,
    *,
    kl_coef: float,
    ended: Bool[Tensor, " B"] | None = None,
    missing_eos_penalty: float = 0.0,
) -> PerToken:
    """Compute per-token rewards: minus the KL penalty everywhere, plus the score on the last token.

    Args:
        scores: Reward model's score of each completion.
        kl: KL estimate of each token, in nats.
        mask: True for the tokens of the completions.
        kl_coef: KL coefficient beta: reward subtracted per nat of KL divergence.
        ended: Whether each completion ended with the end-of-text token; None: not penalized.
        missing_eos_penalty: Penalty subtracted from the score of a completion that hit the token limit,
            because the score of an unfinished text means little.

    Returns:
        Per-token rewards, 0 where the mask is False.

    Raises:
        ValueError: A completion has no token that could receive its score.

    >>> mask = torch.tensor([[True, True, False]])
    >>> penalized_rewards(torch.tensor([5.0]), torch.tensor([[1.0, 2.0, 9.0]]), mask, kl_coef=0.5).tolist()
    [[-0.5, 4.0, 0.0]]
    """
    if not mask.any(dim=1).all():
        empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(
            f"completions {empty} are empty, so no token can receive their score; leave them out"
        )
    if ended is not None:
        scores = scores - missing_eos_penalty * ~ended
    T = mask.shape[1]
    last = T - 1 - mask.flip(1).int().argmax(dim=1)
    rewards = zero_masked(-kl_coef * kl, mask)
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


@torch.no_grad()
@checked
def gae(
    rewards: PerToken, values: PerToken, *, gamma: float, lam: float, mask: Mask | None = None
) -> tuple[PerToken, PerToken]:
    r"""Compute generalized advantage estimates: how much better each token was than the values predicted.

    $$\delta_t = r_t + \gamma V_{t+1} - V_t, \quad A_t = \delta_t + \gamma \lambda A_{t+1}, \quad
    R_t = A_t + V_t$$

    The value after the last token of a completion is 0. Tokens outside the mask are skipped as if they were
    not there, whether they are padding after the end or holes in between, such as the output of a tool: the
    recursion goes from the last token before a hole to the first one after it.

    Args:
        rewards: Reward of each token.
        values: Predicted return before each token.
        gamma: Discount factor in [0, 1]; 1 is usual, because completions are short and scored at their end.
        lam: Weight of longer returns in [0, 1]: 1 uses observed rewards only (unbiased, high variance), 0
            only the value one step ahead.
        mask: True for the tokens of the completions; None: all.

    Returns:
        Advantages, and the returns that the value model is trained to predict; both are 0 outside the mask.

    >>> from llmguide import gae
    >>> rewards, values = torch.tensor([[0.0, 0.0, 4.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    >>> [part.tolist() for part in gae(rewards, values, gamma=1.0, lam=0.5)]  # deltas 1, 1, 1
    [[[1.75, 1.5, 1.0]], [[2.75, 3.5, 4.0]]]
    """
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    next_advantage = next_value = torch.zeros_like(values[:, 0])
    advantages = torch.zeros_like(values)
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantages[:, t] = delta + gamma * lam * next_advantage
        next_advantage = advantages[:, t].where(mask[:, t], next_advantage)
        next_value = values[:, t].where(mask[:, t], next_value)
    advantages = zero_masked(advantages, mask)
    return advantages, advantages + zero_masked(values, mask)


@checked
def ppo_policy_loss(
    logprobs: PerToken,
    old_logprobs: PerToken,
    advantages: PerToken,
    mask: Mask,
    *,
    clip_eps: float = 0.2,
) -> Float[Tensor, ""]:
    """Compute the clipped PPO policy loss, averaged over the tokens of all completions.

    Args:
        logprobs: Log-probability of each token under the current policy.
        old_logprobs: Log-probability of each token when it was sampled.
        advantages: Advantage of each token, usually whitened.
        mask: True for the tokens of the completions.
        clip_eps: Clip range epsilon: the ratio to the old policy gains nothing beyond 1 +- epsilon.

    Returns:
        The scalar loss.

    >>> from llmguide import ppo_policy_loss
    >>> zeros, mask = torch.zeros(1, 2), torch.tensor([[True, True]])
    >>> ppo_policy_loss(zeros, zeros, torch.tensor([[3.0, 1.0]]), mask).item()
    -2.0
    """
    logprobs, old_logprobs = zero_masked(logprobs, mask), zero_masked(old_logprobs, mask)
    losses = clipped_surrogate(logprobs, old_logprobs, zero_masked(advantages, mask), clip_eps=clip_eps)
    return masked_mean(losses, mask)


@checked
def ppo_value_loss(
    values: PerToken, old_values: PerToken, returns: PerToken, mask: Mask, *, clip_eps: float = 0.2
) -> Float[Tensor, ""]:
    r"""Compute the clipped value loss: half the squared error, with values kept within `clip_eps` of the old.

    $\frac{1}{2} \max\big((V - R)^2, (\operatorname{clip}(V, V_{\text{old}} \pm \epsilon) - R)^2\big)$

    Args:
        values: Value of each token under the current value model.
        old_values: Value of each token at the time of the rollout.
        returns: Returns of `gae`, which the values are to predict.
        mask: True for the tokens of the completions.
        clip_eps: Clip range $\epsilon$, on the scale of the returns; inf: no clipping.

    Returns:
        The scalar loss.

    >>> from llmguide import ppo_value_loss
    >>> one = torch.ones(1, 1)
    >>> ppo_value_loss(one, one * 0.0, one, one.bool()).item()  # exact, but clipped at 0.2: 0.8^2 / 2
    0.32
    """
    values, old_values = zero_masked(values, mask), zero_masked(old_values, mask)
    returns = zero_masked(returns, mask)
    clipped = old_values + (values - old_values).clamp(-clip_eps, clip_eps)
    return masked_mean(torch.maximum((values - returns).square(), (clipped - returns).square()), mask) / 2


def adapt_kl_coef(kl_coef: float, kl: float, *, target: float, rate: float = 0.1) -> float:
    r"""Raise the KL coefficient if the measured KL was above the target, and lower it if it was below.

    $\beta \leftarrow \beta\, (1 + K \operatorname{clip}(\mathrm{KL} / \mathrm{target} - 1, -0.2, 0.2))$
    (Ziegler et al. 2019, section 2.2).

    Args:
        kl_coef: KL coefficient $\beta$ of the last step.
        kl: Mean KL per completion in that step, in nats.
        target: Target KL per completion, in nats.
        rate: Controller gain $K$; with 0.1 a step changes the coefficient by at most 2%.

    Returns:
        KL coefficient of the next step.

    >>> [adapt_kl_coef(1.0, kl, target=6.0) for kl in (60.0, 6.6, 6.0, 0.0)]
    [1.02, 1.01, 1.0, 0.98]
    """
    return kl_coef * (1 + rate * min(max(kl / target - 1, -0.2), 0.2))


def explained_variance(values: PerToken, returns: PerToken, mask: Mask) -> Float[Tensor, ""]:
    """Compute the fraction of the returns' variance that the values explain.

    It is 1 - var(returns - values) / var(returns).

    Args:
        values: Predicted values.
        returns: Returns that the values were to predict.
        mask: True for the tokens of the completions.

    Returns:
        1 for perfect values, 0 for a constant, below 0 for worse than a constant; NaN if all returns are
        equal.

    >>> mask = torch.tensor([[True, True]])
    >>> explained_variance(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 6.0]]), mask).item()  # 1 - 1 / 4
    0.75
    """
    return 1 - (returns - values)[mask].var(correction=0) / returns[mask].var(correction=0)
