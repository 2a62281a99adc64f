r"""GRPO and its kin: no value model, the other answers to the same prompt are the baseline.

Each prompt gets a group of G answers. How much better than its siblings an answer scored is the advantage of
all its tokens. The variants differ in three places:

| variant | advantage | mean of the losses | ratio; KL |
| --- | --- | --- | --- |
| ``grpo`` (DeepSeekMath) | $(r - \bar r) / s$ | of each answer, then of answers | token; $k_3$ in the loss |
| ``dapo`` | the same | of all tokens | token, to 1.28; none |
| ``dr_grpo`` | $r - \bar r$ | of answers, each a sum over a constant | token; none |
| ``rloo`` | $r$ - mean of the others | of answers | answer; $k_1$ in the reward |

A mean over each answer makes a token of a long answer count less than one of a short answer, so long wrong
answers are punished least; the division by the standard deviation weighs prompts that are nearly always, or
nearly never, solved more than others. Dr. GRPO removes both. In the first update after a rollout all ratios
are 1; clipping matters from the second on.

References: Shao et al. 2024, arXiv:2402.03300, section 4.1 (GRPO); Yu et al. 2025, arXiv:2503.14476, sections
3.1 to 3.4 (DAPO); Liu et al. 2025, arXiv:2503.20783, section 3 (Dr. GRPO); Ahmadian et al. 2024,
arXiv:2402.14740 (RLOO).

Leaves out: process rewards (one per step of reasoning), the mean ratio of an answer (GSPO), a clipped weight
that keeps its gradient (CISPO).

Glossary: ``B`` answers, ``G`` of a group (adjacent rows), ``T`` tokens of the longest; masks are True for the
tokens that count.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.post_training.rl.policy_gradient import (
    Mask,
    PerToken,
    clipped_surrogate,
    is_clipped,
    kl_estimate,
    masked_mean,
    zero_masked,
)
from llmguide.post_training.rl.rollout import Rollout, answer_logprobs, join
from llmguide.post_training.rl.trainer import Metrics, PolicyTrainer, PolicyTrainerConfig, Reward

Variant = Literal["grpo", "dapo", "dr_grpo", "rloo"]
PerAnswer = Float[Tensor, " B"]


def group_advantages(rewards: PerAnswer, group_size: int, *, scale: bool = True) -> PerAnswer:
    r"""How much better than the mean of its group each answer is, $(r - \bar r) / (s + 10^{-4})$.

    $s$ is the standard deviation of the group with Bessel's correction, as in TRL. A group of equal rewards
    teaches nothing: its advantages are 0.

    Args:
        rewards: Of answers, group by group.
        group_size: G.
        scale: False leaves the division out (Dr. GRPO).

    Returns:
        Advantages.

    Raises:
        ValueError: A group has fewer than two answers, or the rewards are no whole number of groups.

    >>> from llmguide import group_advantages
    >>> rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0, 5.0])
    >>> group_advantages(rewards, 4).tolist()  # mean 1/2, deviation root of 1/3
    [0.866, -0.866, -0.866, 0.866, 0.0, 0.0, 0.0, 0.0]
    """
    grouped = _grouped(rewards, group_size)
    grouped = grouped - grouped[:, :1]  # the mean of equal numbers is not always that number: 8 times 0.9
    centered = grouped - grouped.mean(dim=1, keepdim=True)
    return (centered / (grouped.std(dim=1, keepdim=True) + 1e-4) if scale else centered).flatten()


def leave_one_out_advantages(rewards: PerAnswer, group_size: int) -> PerAnswer:
    r"""How much better each answer is than the mean of the others of its group (RLOO).

    A baseline that does not contain the answer itself leaves the gradient unbiased; it is
    $\frac{G}{G - 1} (r - \bar r)$.

    Args:
        rewards: Of answers, group by group.
        group_size: G.

    Returns:
        Advantages.

    Raises:
        ValueError: As in `group_advantages`.

    >>> leave_one_out_advantages(torch.tensor([4.0, 1.0, 1.0]), 3).tolist()
    [3.0, -1.5, -1.5]
    """
    return group_advantages(rewards, group_size, scale=False) * (group_size / (group_size - 1))


def grpo_loss(
    logp: PerToken,
    old_logp: PerToken,
    advantages: PerAnswer,
    mask: Mask,
    *,
    variant: Variant = "grpo",
    clip_eps: float = 0.2,
    clip_eps_high: float | None = None,
    ref_logp: PerToken | None = None,
    kl_coef: float = 0.0,
    max_length: int | None = None,
) -> Float[Tensor, ""]:
    r"""Clipped loss of groups of answers, and the KL term of the variants that have it in the loss.

    Args:
        logp: Log-probabilities of the tokens now.
        old_logp: When they were drawn.
        advantages: Of whole answers; for `rloo` with the KL already in the rewards.
        mask: Tokens that count; an answer without any adds 0.
        variant: How tokens are averaged; see the table at the top. ``rloo`` clips the ratio of whole answers.
        clip_eps: Lower $\epsilon$.
        clip_eps_high: Upper $\epsilon$ where it differs; DAPO has 0.28, so that a rare token can grow faster.
        ref_logp: Log-probabilities under the reference.
        kl_coef: Price of $k_3$; DeepSeekMath has 0.04, later ones 0.
        max_length: For ``dr_grpo``: the constant that sums are divided by, the limit of the rollout.

    Returns:
        The loss.

    Raises:
        ValueError: The variant is unknown, or an argument that it needs is missing.

    >>> from llmguide import grpo_loss
    >>> logp, mask = torch.zeros(2, 3), torch.tensor([[True, False, False], [True, True, True]])
    >>> advantages = torch.tensor([1.0, -1.0])  # the short answer was good, the long one bad
    >>> [grpo_loss(logp, logp, advantages, mask, variant=variant, max_length=4).item()
    ...  for variant in ("grpo", "dapo", "dr_grpo", "rloo")]  # 0/2, 2/4, 2/(2 x 4), 0/2
    [0.0, 0.5, 0.25, 0.0]
    """
    if variant not in get_args(Variant):
        raise ValueError(f"variant={variant!r} must be one of {', '.join(get_args(Variant))}")
    if kl_coef and (ref_logp is None or variant == "rloo"):
        raise ValueError(
            f"kl_coef={kl_coef} with variant={variant!r} and ref_logp "
            f"{'missing' if ref_logp is None else 'given'}: pass ref_logp; for rloo put KL in the rewards"
        )
    logp, old_logp = zero_masked(logp, mask), zero_masked(old_logp, mask)
    if variant == "rloo":
        whole = clipped_surrogate(
            logp.sum(dim=1), old_logp.sum(dim=1), advantages, clip_eps=clip_eps, clip_eps_high=clip_eps_high
        )
        return whole.mean()
    losses = clipped_surrogate(
        logp, old_logp, advantages[:, None].expand_as(logp), clip_eps=clip_eps, clip_eps_high=clip_eps_high
    )
    if kl_coef and ref_logp is not None:
        losses = losses + kl_coef * kl_estimate(logp, zero_masked(ref_logp, mask), "k3")
    if variant == "dapo":
        return masked_mean(losses, mask)
    sums = zero_masked(losses, mask).sum(dim=1)
    if variant == "grpo":
        return (sums / mask.sum(dim=1).clamp(min=1)).mean()
    if max_length is None:
        raise ValueError("variant='dr_grpo' divides by a constant: pass max_length, the limit of the rollout")
    return sums.mean() / max_length


def overlong_penalty(lengths: Int[Tensor, " B"], *, max_length: int, margin: int) -> PerAnswer:
    """Soft punishment of length (DAPO, equation 13): from 0 down to -1 over the last tokens before the limit.

    A cut-off answer is as wrong as any, but it may have been on a good way; a slope tells it to be shorter
    before the cliff.

    Args:
        lengths: Tokens of the answers.
        max_length: Where the punishment is -1; beyond it stays.
        margin: Tokens before that over which it grows.

    Returns:
        To add to the rewards.

    >>> overlong_penalty(torch.tensor([80, 85, 90, 100, 120]), max_length=100, margin=20).tolist()
    [0.0, -0.25, -0.5, -1.0, -1.0]
    """
    return ((max_length - margin - lengths) / margin).clamp(-1.0, 0.0)


def informative(rewards: PerAnswer, group_size: int) -> Bool[Tensor, " B"]:
    """Whether the rewards of an answer's group differ; if not, the group has no gradient (DAPO, section 3.2).

    >>> informative(torch.tensor([1.0, 0.0, 1.0, 1.0]), 2).tolist()
    [True, True, False, False]
    """
    grouped = _grouped(rewards, group_size)
    return (grouped != grouped[:, :1]).any(dim=1).repeat_interleave(group_size)


def _grouped(rewards: PerAnswer, group_size: int) -> Float[Tensor, "n G"]:
    if group_size < 2 or len(rewards) % group_size:
        raise ValueError(
            f"{len(rewards)} rewards and group_size={group_size}: a group needs two answers or more to "
            "compare, and all groups the same number"
        )
    return rewards.view(-1, group_size)


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(PolicyTrainerConfig):
    """Choices of a GRPO run.

    >>> from llmguide import GRPOConfig
    >>> config = GRPOConfig(n_steps=10, batch_size=8, max_new_tokens=16, variant="dapo")
    >>> config.upper_clip
    0.28
    """

    group_size: int = 8  # G, answers to each prompt; DeepSeekMath has 64, TRL 8
    variant: Variant = "grpo"
    clip_eps: float = 0.2
    clip_eps_high: float | None = None  # None: 0.28 for dapo, else clip_eps
    kl_coef: float = 0.0  # 0.04 in DeepSeekMath; 0 needs no reference, and is usual where rewards are checked
    overlong_margin: int = 0  # tokens before the limit over which length is punished, up to -1; 0: not at all
    max_draws: int = 4  # dapo: batches of prompts a step may use up in search of groups that differ

    def __post_init__(self) -> None:
        """Reject what cannot be run."""
        super().__post_init__()
        if self.variant not in get_args(Variant):
            raise ValueError(f"variant={self.variant!r} must be one of {', '.join(get_args(Variant))}")
        if self.group_size < 2:
            raise ValueError(f"group_size={self.group_size}: an answer needs others to be compared with")

    @property
    def upper_clip(self) -> float:
        """How far above 1 a ratio may rise to any gain."""
        if self.clip_eps_high is not None:
            return self.clip_eps_high
        return 0.28 if self.variant == "dapo" else self.clip_eps


class GRPOTrainer(PolicyTrainer):
    """The loop: answer each prompt several times, score, compare within the group, take clipped steps.

    Args:
        policy: The decoder to train.
        reward: Scores the answers of a rollout, such as `llmguide.post_training.rl.verifiable_rewards.reward`
            of a check.
        config: How.
        reference: What the policy may not stray far from; needed if `config.kl_coef` is not 0.

    Raises:
        ValueError: KL has a price and there is no reference.

    >>> from llmguide import GRPOConfig, GRPOTrainer, ModelConfig, build
    >>> policy = build(ModelConfig(vocab_size=5, context_length=8, n_layers=1, d_model=12, n_heads=2))
    >>> def likes_threes(answers):
    ...     return (answers.answers == 3).float().sum(dim=1)
    >>> grpo = GRPOTrainer(policy=policy, reward=likes_threes,
    ...             config=GRPOConfig(n_steps=20, batch_size=8, max_new_tokens=2, lr=0.03))
    >>> history = grpo.run([[1]])
    >>> history[0]["reward"] < 1.0 < history[-1]["reward"]  # from 2 x 1/5 towards 2
    True
    """

    def __init__(
        self, *, policy: nn.Module, reward: Reward, config: GRPOConfig, reference: nn.Module | None = None
    ):
        if config.kl_coef and reference is None:
            raise ValueError(f"kl_coef={config.kl_coef} needs a reference: pass a copy of the policy")
        super().__init__(policy, policy, reference, reward, config)
        self.config = config

    def step(
        self, prompts: Int[Tensor, "B T_p"], attention_mask: Bool[Tensor, "B T_p"] | None = None
    ) -> Metrics:
        """Answer the prompts, learn from the answers, and append the metrics to the history.

        Returns:
            ``reward``: mean score; ``kl``: mean KL of an answer from the reference in nats, 0 without one;
            ``informative``: share of the groups whose rewards differ; ``length`` and ``ended`` (share) of the
            answers; and, averaged over the updates, ``policy_loss``, ``entropy`` of a token,
            ``clip_fraction`` of tokens, ``approx_kl`` from the policy of the rollout, ``grad_norm``.
        """
        config, G = self.config, self.config.group_size
        answers, scores = self.answer(prompts, attention_mask, G)
        all_scores = scores
        if config.variant == "dapo":
            answers, scores, all_scores = self._until_informative(answers, scores)
        mask, ref_logp = answers.mask, answers.logprobs
        if self.reference is not None:
            ref_logp = self.divided(self.reference_logprobs, answers)
        kl = kl_estimate(answers.logprobs, ref_logp, "k1").sum(dim=1)
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

        def loss_of(rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return self.loss(answers.take(rows), advantages[rows], ref_logp[rows])

        learned = self.learn(mask, loss_of, per_token=config.variant == "dapo")
        metrics = {
            "reward": all_scores.mean().item(),
            "kl": kl.mean().item(),
            "informative": informative(all_scores, G).float().mean().item(),
            "length": mask.sum(dim=1).float().mean().item(),
            "ended": answers.ended.float().mean().item(),
            **learned,
        }
        self.history.append(metrics)
        return metrics

    def loss(
        self, answers: Rollout, advantages: PerAnswer, ref_logp: PerToken
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Loss of one minibatch, and what it shows."""
        config, mask = self.config, answers.mask
        logp, entropies = answer_logprobs(self.policy, answers, temperature=config.temperature)
        loss = grpo_loss(
            logp,
            answers.logprobs,
            advantages,
            mask,
            variant=config.variant,
            clip_eps=config.clip_eps,
            clip_eps_high=config.upper_clip,
            ref_logp=ref_logp,
            kl_coef=0.0 if config.variant == "rloo" else config.kl_coef,
            max_length=config.max_new_tokens,
        )
        log_ratio = (logp - answers.logprobs).detach()
        if config.variant == "rloo":
            log_ratio = log_ratio.sum(dim=1, keepdim=True).expand_as(mask)
        clipped = is_clipped(
            log_ratio,
            torch.zeros_like(log_ratio),
            advantages[:, None].expand_as(mask),
            clip_eps=config.clip_eps,
            clip_eps_high=config.upper_clip,
        )
        shown = {
            "policy_loss": loss,
            "entropy": masked_mean(entropies, mask),
            "clip_fraction": masked_mean(clipped.float(), mask),
            "approx_kl": masked_mean(kl_estimate(answers.logprobs, logp.detach(), "k3"), mask),
        }
        return loss, shown

    def _until_informative(
        self, answers: Rollout, scores: PerAnswer
    ) -> tuple[Rollout, Float[Tensor, " B_kept"], Float[Tensor, " B_all"]]:
        """Dynamic sampling: drop groups of equal rewards, and answer more prompts until the batch is full.

        Returns the answers that stay and their scores, and the scores of all. If no group differs, all stay.
        """
        G, wanted = self.config.group_size, len(scores)
        seen, kept = [scores], [informative(scores, G)]
        parts = [answers]
        while self.draw and len(parts) < self.config.max_draws and torch.cat(kept).sum() < wanted:
            more, more_scores = self.answer(*self.draw(), G)
            parts.append(more)
            seen.append(more_scores)
            kept.append(informative(more_scores, G))
        all_scores, rows = torch.cat(seen), torch.cat(kept).nonzero().flatten()[:wanted]
        if not len(rows):
            return answers, scores, all_scores
        return join(parts).take(rows), all_scores[rows], all_scores
