r"""The formulas of GRPO and its variants: group-relative advantages instead of a value model.

Each prompt gets a group of G completions, and the other completions of the group are the baseline: the
advantage of all tokens of a completion is how much better it scored than its group. The variants differ in
three places:

| variant | advantage | mean of the losses | ratio; KL |
| --- | --- | --- | --- |
| ``grpo`` (DeepSeekMath) | $(r - \bar r) / s$ | over tokens, then completions | token; $k_3$ in the loss |
| ``dapo`` | the same | over all tokens | token, to 1.28; none |
| ``dr_grpo`` | $r - \bar r$ | over completions, each a sum over a constant | token; none |
| ``rloo`` | $r$ - mean of the others | over completions | completion; $k_1$ in the reward |
| ``gspo`` | as ``grpo`` | as ``grpo`` | completion, geometric mean over its tokens; none |
| ``cispo`` | as ``grpo`` | over all tokens | token, a capped weight that is not differentiated; none |

A mean over each completion gives a token of a long completion less weight than one of a short completion, so
long wrong completions are penalized least; the division by the standard deviation gives more weight to
prompts that are nearly always, or nearly never, solved. Dr. GRPO removes both. CISPO caps the ratio and
multiplies the log-probability by it, so that a token beyond the cap keeps a gradient. In the first optimizer
step after a rollout all ratios are 1, so clipping has an effect from the second step on.

References: Shao et al. 2024, arXiv:2402.03300, section 4.1 (GRPO); Yu et al. 2025, arXiv:2503.14476, sections
3.1 to 3.4 (DAPO); Liu et al. 2025, arXiv:2503.20783, section 3 (Dr. GRPO); Ahmadian et al. 2024,
arXiv:2402.14740 (RLOO); Zheng et al. 2025, arXiv:2507.18071, equations 5 and 7 (GSPO); MiniMax 2025,
arXiv:2506.13585, equations 4 and 5 (CISPO).

Leaves out: process rewards (one per reasoning step).

Glossary: ``B`` completions, ``G`` completions of a group (adjacent rows), ``T`` tokens of the longest
completion; masks are True for the tokens of the completions.
"""

from typing import Literal, get_args

from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmguide.arguments import checked
from llmguide.post_training.rl.policy_gradient import (
    MAX_LOG_RATIO,
    Mask,
    PerToken,
    clipped_surrogate,
    kl_estimate,
    masked_mean,
    zero_masked,
)

Variant = Literal["grpo", "dapo", "dr_grpo", "rloo", "gspo", "cispo"]
PerCompletion = Float[Tensor, " B"]


@checked
def group_advantages(rewards: PerCompletion, group_size: int, *, scale: bool = True) -> PerCompletion:
    r"""Compute each completion's advantage over its group, $(r - \bar r) / (s + 10^{-4})$.

    $s$ is the standard deviation of the group with Bessel's correction, as in TRL. A group of equal rewards
    gives no gradient: its advantages are 0.

    Args:
        rewards: Reward of each completion, group by group.
        group_size: Completions per group G, at least 2.
        scale: Whether to divide by the standard deviation; False in Dr. GRPO.

    Returns:
        Advantage of each completion.

    Raises:
        ValueError: A group has fewer than two completions, or the rewards do not divide into groups.

    >>> import torch
    >>> from llmguide import group_advantages
    >>> rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0, 5.0])
    >>> group_advantages(rewards, 4).tolist()  # mean 1/2, deviation root of 1/3
    [0.866, -0.866, -0.866, 0.866, 0.0, 0.0, 0.0, 0.0]
    """
    grouped = _grouped(rewards, group_size)
    grouped = grouped - grouped[:, :1]  # the mean of equal numbers can differ from them by rounding
    centered = grouped - grouped.mean(dim=1, keepdim=True)
    return (centered / (grouped.std(dim=1, keepdim=True) + 1e-4) if scale else centered).flatten()


def leave_one_out_advantages(rewards: PerCompletion, group_size: int) -> PerCompletion:
    r"""Compute each completion's advantage over the mean of the others of its group (RLOO).

    A baseline that does not contain the completion itself leaves the gradient unbiased. The advantage is
    $\frac{G}{G - 1} (r - \bar r)$.

    Args:
        rewards: Reward of each completion, group by group.
        group_size: Completions per group G, at least 2.

    Returns:
        Advantage of each completion.

    Raises:
        ValueError: As in `group_advantages`.

    >>> import torch
    >>> leave_one_out_advantages(torch.tensor([4.0, 1.0, 1.0]), 3).tolist()
    [3.0, -1.5, -1.5]
    """
    return group_advantages(rewards, group_size, scale=False) * (group_size / (group_size - 1))


@checked
def grpo_loss(
    logprobs: PerToken,
    old_logprobs: PerToken,
    advantages: PerCompletion,
    mask: Mask,
    *,
    variant: Variant = "grpo",
    clip_eps: float = 0.2,
    clip_eps_high: float | None = None,
    ref_logprobs: PerToken | None = None,
    kl_coef: float = 0.0,
    max_length: int | None = None,
) -> Float[Tensor, ""]:
    r"""Compute the clipped policy loss of groups of completions, with the variant's KL term if it has one.

    Args:
        logprobs: Log-probability of each token under the current policy.
        old_logprobs: Log-probability of each token when it was sampled.
        advantages: Advantage of each completion; for ``rloo`` the KL penalty is already in the rewards.
        mask: True for the tokens of the completions; a completion without any adds 0.
        variant: How token losses are averaged, and what is clipped; see the table above.
        clip_eps: Lower clip range $\epsilon$; 0.0003 in GSPO. ``cispo`` has no lower bound.
        clip_eps_high: Upper clip range, if it differs; 0.28 in DAPO, so that rare tokens can gain faster, and
            0.0004 in GSPO.
        ref_logprobs: Log-probability of each token under the reference model.
        kl_coef: KL coefficient $\beta$ of $k_3$; 0.04 in DeepSeekMath, 0 in later recipes.
        max_length: Token limit of the rollout; ``dr_grpo`` divides sums by this constant.

    Returns:
        The scalar loss.

    Raises:
        ValueError: The variant is unknown, or an argument that it needs is missing.

    >>> import torch
    >>> from llmguide import grpo_loss
    >>> logprobs, mask = torch.zeros(2, 3), torch.tensor([[True, False, False], [True, True, True]])
    >>> advantages = torch.tensor([1.0, -1.0])  # the short completion was good, the long one bad
    >>> [grpo_loss(logprobs, logprobs, advantages, mask, variant=variant, max_length=4).item()
    ...  for variant in ("grpo", "dapo", "dr_grpo", "rloo")]  # 0/2, 2/4, 2/(2 x 4), 0/2
    [0.0, 0.5, 0.25, 0.0]
    """
    if variant not in get_args(Variant):
        raise ValueError(f"variant={variant!r} must be one of {', '.join(get_args(Variant))}")
    if kl_coef and (ref_logprobs is None or variant == "rloo"):
        raise ValueError(
            f"kl_coef={kl_coef} with variant={variant!r} and ref_logprobs "
            f"{'missing' if ref_logprobs is None else 'given'}: pass ref_logprobs; "
            "for rloo put KL in the rewards"
        )
    logprobs, old_logprobs = zero_masked(logprobs, mask), zero_masked(old_logprobs, mask)
    if variant == "rloo":
        logprobs, old_logprobs = logprobs.sum(dim=1), old_logprobs.sum(dim=1)
        return clipped_surrogate(
            logprobs, old_logprobs, advantages, clip_eps=clip_eps, clip_eps_high=clip_eps_high
        ).mean()
    per_token = advantages[:, None].expand_as(logprobs)
    if variant == "cispo":
        high = clip_eps if clip_eps_high is None else clip_eps_high
        ratio = (logprobs.detach().float() - old_logprobs).clamp(max=MAX_LOG_RATIO).exp()
        losses = -ratio.clamp(max=1 + high) * per_token * logprobs
    else:
        new, old = logprobs, old_logprobs
        if variant == "gspo":
            new, old = completion_mean(logprobs, mask), completion_mean(old_logprobs, mask)
        losses = clipped_surrogate(new, old, per_token, clip_eps=clip_eps, clip_eps_high=clip_eps_high)
    if kl_coef and ref_logprobs is not None:
        losses = losses + kl_coef * kl_estimate(logprobs, zero_masked(ref_logprobs, mask), "k3")
    if variant in ("dapo", "cispo"):
        return masked_mean(losses, mask)
    sums = zero_masked(losses, mask).sum(dim=1)
    if variant in ("grpo", "gspo"):
        return (sums / mask.sum(dim=1).clamp(min=1)).mean()
    if max_length is None:
        raise ValueError("variant='dr_grpo' divides by a constant: pass max_length, the limit of the rollout")
    return sums.mean() / max_length


def completion_mean(values: PerToken, mask: Mask) -> PerToken:
    """Replace the values of each completion by their mean over its tokens.

    >>> import torch
    >>> completion_mean(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])).tolist()
    [[2.0, 2.0, 2.0]]
    """
    sums = zero_masked(values, mask).sum(dim=1, keepdim=True)
    return (sums / mask.sum(dim=1, keepdim=True).clamp(min=1)).expand_as(values)


def overlong_penalty(lengths: Int[Tensor, " B"], *, max_length: int, margin: int) -> PerCompletion:
    """Compute DAPO's soft overlong penalty (equation 13): from 0 down to -1 just before the token limit.

    A completion that is cut off gets no reward even if it was on the right track; the slope gives a gradient
    toward shorter completions before that happens.

    Args:
        lengths: Tokens of each completion.
        max_length: Length at which the penalty reaches -1, where it stays.
        margin: Number of tokens before that over which the penalty grows.

    Returns:
        Penalty to add to the reward of each completion.

    >>> import torch
    >>> overlong_penalty(torch.tensor([80, 85, 90, 100, 120]), max_length=100, margin=20).tolist()
    [0.0, -0.25, -0.5, -1.0, -1.0]
    """
    return ((max_length - margin - lengths) / margin).clamp(-1.0, 0.0)


def has_signal(rewards: PerCompletion, group_size: int) -> Bool[Tensor, " B"]:
    """Return whether the rewards in each completion's group differ; equal rewards give no gradient.

    Args:
        rewards: Reward of each completion, group by group.
        group_size: Completions per group, at least 2.

    Returns:
        One flag per completion, equal within a group (DAPO, section 3.2, keeps the True ones).

    >>> import torch
    >>> has_signal(torch.tensor([1.0, 0.0, 1.0, 1.0]), 2).tolist()
    [True, True, False, False]
    """
    grouped = _grouped(rewards, group_size)
    return (grouped != grouped[:, :1]).any(dim=1).repeat_interleave(group_size)


def _grouped(rewards: PerCompletion, group_size: int) -> Float[Tensor, "n G"]:
    if group_size < 2 or len(rewards) % group_size:
        raise ValueError(
            f"{len(rewards)} rewards and group_size={group_size}: a group needs at least two completions to "
            "compare, and all groups the same number"
        )
    return rewards.view(-1, group_size)
