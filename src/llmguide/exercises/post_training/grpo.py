"""Exercises of variants of GRPO: batches with a signal, and one ratio for each completion."""

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.post_training.rl.grpo_losses import completion_mean, grpo_loss
from llmguide.post_training.rl.policy_gradient import clipped_surrogate

Group = tuple[str, list[float]]


def fill_batch(
    sample: Callable[[], Group],
    n_groups: int,
    budget: int,
    *,
    useful: Callable[[list[float]], bool] = lambda rewards: len(set(rewards)) > 1,
    late: bool = False,
) -> list[str]:
    """Sample groups until enough of them have a signal, with switches for the mistakes."""
    kept: list[str] = []
    for _ in range(budget):
        if len(kept) == n_groups and not late:
            break
        prompt, rewards = sample()
        if late and len(kept) == n_groups:
            break
        if useful(rewards):
            kept.append(prompt)
    return kept


def _filtered_batch(sample: Callable[[], Group], n_groups: int, budget: int) -> list[str]:
    groups = [sample() for _ in range(min(n_groups, budget))]
    return [prompt for prompt, rewards in groups if len(set(rewards)) > 1]


def _sampled(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, int]:
    """Observe what is kept and how many groups are sampled."""
    groups, n_groups, budget = arguments
    left = iter(groups)
    result = function(lambda: next(left), n_groups, budget)
    return result, len(groups) - len(list(islice(left, len(groups))))


def _batch_probes() -> list[Arguments]:
    groups = [
        ("a", [1.0, 1.0, 1.0]),
        ("b", [0.0, 1.0, 0.0]),
        ("c", [0.0, 0.0, 0.0]),
        ("d", [1.0, 1.0, 0.0]),
        ("e", [0.5, 0.5, 0.5]),
        ("f", [0.2, 0.2, 0.1]),
        ("g", [0.0, 1.0, 1.0]),
        ("h", [1.0, 1.0, 1.0]),
    ]
    return [(groups, 3, 8), (groups, 3, 5), (groups[2:], 1, 6), (groups, 0, 4)]


def sequence_loss(  # noqa: PLR0917 (the arguments of the answer)
    logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, low: float, high: float
) -> Tensor:
    """Compute the loss of GSPO."""
    loss: Tensor = grpo_loss(
        logp, old_logp, advantages, mask, variant="gspo", clip_eps=low, clip_eps_high=high
    )
    return loss


def _token_ratios(  # noqa: PLR0917 (the arguments of the answer)
    logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, low: float, high: float
) -> Tensor:
    losses = clipped_surrogate(
        logp, old_logp, advantages[:, None].expand_as(logp), clip_eps=low, clip_eps_high=high
    )
    return completion_mean(losses, mask)[:, 0].mean()


def _mean_over_tokens(  # noqa: PLR0917 (the arguments of the answer)
    logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, low: float, high: float
) -> Tensor:
    losses = [
        sequence_loss(logp[i, None], old_logp[i, None], advantages[i, None], mask[i, None], low, high)
        for i in range(len(logp))
    ]
    return (torch.stack(losses) * mask.sum(dim=1)).sum() / mask.sum()


def _sequence_probes() -> list[Arguments]:
    mask = torch.tensor(
        [[True] * 5, [True] * 2 + [False] * 3, [True] * 3 + [False] * 2, [True] * 4 + [False]]
    )
    old, advantages = noise(38, 4, 5) - 2, torch.tensor([1.0, -0.5, 2.0, -1.5])
    return [
        (old + 0.3 * noise(39, 4, 5), old, advantages, mask, 0.1, 0.2),
        (old + 0.5 * noise(40, 4, 5) + 0.1, old, advantages, mask, 0.05, 0.1),
    ]


EXERCISES = (
    Exercise(
        "fill-batch",
        "fill_batch(sample, n_groups, budget) collects a batch with DAPO's dynamic sampling. Each call of "
        "sample() generates a group of completions for the next prompt and returns a tuple: the prompt and "
        "the list of the rewards of its completions. Keep a prompt if its group gives a gradient with "
        "GRPO's advantages. Return the list of kept prompts, in order, as soon as there are n_groups of "
        "them, or when `budget` groups have been sampled. Sampling is expensive, so the test counts the "
        "calls of sample: make no call that is not needed.",
        fill_batch,
        _batch_probes,
        (
            Mistake(
                "solved groups kept",
                "a group in which every completion is right is kept",
                "If all rewards are equal, every advantage is 0, however large the rewards are.",
                partial(fill_batch, useful=lambda rewards: max(rewards) > 0),
            ),
            Mistake(
                "rewards of 0 and 1 only",
                "a group is dropped unless it has both a reward of 0 and one of 1",
                "Rewards can be any numbers. What matters is whether they differ.",
                partial(fill_batch, useful=lambda rewards: {0.0, 1.0} <= set(rewards)),
            ),
            Mistake(
                "nothing sampled instead",
                "n_groups groups are sampled, and those without a signal are dropped",
                "The batch has to be filled up: sample further groups instead of the dropped ones.",
                _filtered_batch,
            ),
            Mistake(
                "one call too many",
                "one more group is sampled when the batch is already full",
                "Test whether the batch is full before you sample.",
                partial(fill_batch, late=True),
            ),
            Mistake(
                "budget ignored",
                "sampling goes on when the budget is spent",
                "Count all groups that were sampled, also those that were dropped.",
                lambda sample, n_groups, budget: fill_batch(sample, n_groups, 8),
            ),
        ),
        (
            "When is every advantage of a group 0? Look at the numerator of GRPO's advantage.",
            "Two conditions end the loop. In which order does one round test them and call sample?",
            "while len(kept) < n_groups and n_sampled < budget: sample a group, count it, and keep its "
            "prompt if its rewards are not all equal.",
        ),
        level="medium",
        minutes=10,
        after="As training goes on, more prompts are always solved, and a fixed batch would contain fewer "
        "and fewer groups that give a gradient. Dynamic sampling keeps the batch size, at the cost of more "
        "generation.",
        observe=_sampled,
    ),
    Exercise(
        "sequence-loss",
        "sequence_loss(logp, old_logp, advantages, mask, low, high) returns the loss of GSPO as a scalar "
        "tensor. `logp` and `old_logp` (B, T) are the log-probabilities of the tokens of B completions under "
        "the current policy and under the one that sampled them. `mask` (B, T) is True for tokens of the "
        "completions, each of which has at least one, and `advantages` is (B,). GSPO has one ratio for each "
        "completion: the geometric mean of the ratios of its tokens. The objective of a completion is that "
        "of PPO, with this ratio clipped to [1 - low, 1 + high]. Average over the completions, and return a "
        "loss, which is to be minimized.",
        sequence_loss,
        _sequence_probes,
        (
            Mistake(
                "ratio of each token",
                "each token has a ratio of its own, as in GRPO",
                "Average the log-ratios over the tokens of a completion before you take the exponential.",
                _token_ratios,
            ),
            Mistake(
                "product of the ratios",
                "the ratio is that of the probabilities of whole completions",
                "A geometric mean has a root: divide the sum of the log-ratios by the number of tokens.",
                lambda logp, old_logp, advantages, mask, low, high: sequence_loss(
                    logp * mask.sum(dim=1, keepdim=True),
                    old_logp * mask.sum(dim=1, keepdim=True),
                    advantages,
                    mask,
                    low,
                    high,
                ),
            ),
            Mistake(
                "padding averaged as well",
                "the mean of the log-ratios is over all T columns",
                "Divide by the number of tokens of the completion.",
                lambda logp, old_logp, advantages, mask, low, high: sequence_loss(
                    logp * mask, old_logp * mask, advantages, torch.ones_like(mask), low, high
                ),
            ),
            Mistake(
                "one range for both sides",
                "the ratio is clipped to [1 - low, 1 + low]",
                "The upper end is 1 + high.",
                lambda logp, old_logp, advantages, mask, low, high: sequence_loss(
                    logp, old_logp, advantages, mask, low, low
                ),
            ),
            Mistake(
                "long completions count more",
                "the mean is over tokens, not over completions",
                "Each completion has one term, whatever its length.",
                _mean_over_tokens,
            ),
            Mistake(
                "sign",
                "the objective is returned, which is to be maximized",
                "Put a minus in front.",
                lambda *arguments: -sequence_loss(*arguments),
            ),
        ),
        (
            "Work in logarithms: the logarithm of a geometric mean is the mean of the logarithms.",
            "Sum the masked log-ratios of each completion and divide by its number of tokens. The "
            "exponential of that is the ratio (B,).",
            "Take the smaller of ratio * advantage and clipped ratio * advantage, average over the "
            "completions, and change the sign.",
        ),
        level="medium",
        minutes=15,
        after="The reward belongs to the whole completion, so GSPO corrects for the change of the policy per "
        "completion. The geometric mean keeps ratios of long and short completions on one scale; its clip "
        "ranges are therefore far smaller, 0.0003 and 0.0004 in the paper.",
    ),
)
