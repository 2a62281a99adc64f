"""Exercises of advantages within a group of completions."""

from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.post_training.rl.grpo_losses import group_advantages


def _in_groups(
    rewards: Tensor, group_size: int, *, correction: int = 1, eps: float = 1e-4, centered: bool = True
) -> Tensor:
    grouped = rewards.view(-1, group_size)
    mean = grouped.mean(dim=1, keepdim=True) if centered else 0.0
    return ((grouped - mean) / (grouped.std(dim=1, keepdim=True, correction=correction) + eps)).flatten()


def leave_one_out(
    rewards: Tensor,
    prompts: Tensor,
    *,
    included: bool = False,
    scaled: bool = False,
    whole_batch: bool = False,
    lonely: bool = True,
) -> Tensor:
    """Compute leave-one-out advantages for groups of any size, with switches for the mistakes.

    >>> leave_one_out(torch.tensor([4.0, 7.0, 1.0, 1.0]), torch.tensor([5, 3, 5, 5])).tolist()
    [3.0, 0.0, -1.5, -1.5]
    """
    advantages = []
    for i, prompt in enumerate(prompts):
        group = torch.ones_like(prompts, dtype=torch.bool) if whole_batch else prompts == prompt
        others = group.clone()
        others[i] = included
        alone = group.sum() == 1
        baseline = rewards[others].mean() if others.any() and not alone else torch.zeros(())
        advantage = rewards[i] - baseline
        if scaled and not alone:
            advantage = advantage / (rewards[group].std() + 1e-4)
        advantages.append(advantage * 0 if alone and lonely else advantage)
    return torch.stack(advantages)


def _group_probes() -> list[Arguments]:
    return [
        (torch.tensor([1.0, 0.0, 4.0, 1.0, 2.5, 0.0, 3.0]), torch.tensor([7, 2, 7, 2, 9, 2, 7])),
        (noise(37, 6), torch.tensor([1, 1, 0, 0, 1, 0])),
    ]


EXERCISES = (
    Exercise(
        "group-advantages",
        "group_advantages(rewards, group_size): the advantages of GRPO, one for each reward: by how many "
        "standard deviations it is above the mean of its group. A group is `group_size` neighboring "
        "completions. The standard deviation has Bessel's correction, and 1e-4 is added to it.",
        group_advantages,
        lambda: [
            (torch.tensor([1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0, 5.0, 2.0, 3.0, 7.0, 1.0]), 4),
            (noise(16, 6), 3),
        ],
        (
            Mistake(
                "advantage not normalized",
                "the mean is subtracted and nothing is divided (this is Dr. GRPO)",
                "Divide by the standard deviation of the group.",
                partial(group_advantages, scale=False),
            ),
            Mistake(
                "normalized over the batch",
                "mean and standard deviation are those of all completions together",
                "The completions of an easy prompt would all look good. Compare within a group: "
                "view(-1, group_size).",
                lambda rewards, group_size: _in_groups(rewards, len(rewards)),
            ),
            Mistake(
                "deviation without Bessel's correction",
                "the variance is divided by G instead of G - 1",
                "torch.std divides by G - 1 by default; numpy's does not.",
                partial(_in_groups, correction=0),
            ),
            Mistake(
                "division by zero",
                "nothing keeps the division finite in a group of equal rewards",
                "Add 1e-4 to the standard deviation. Such a group teaches nothing: its advantages are 0.",
                partial(_in_groups, eps=0.0),
            ),
            Mistake(
                "mean not subtracted",
                "the rewards are only divided",
                "Without a baseline every completion with a positive reward is reinforced.",
                partial(_in_groups, centered=False),
            ),
        ),
        (
            "Arrange the rewards in a matrix with one group per row.",
            "rewards.view(-1, group_size), then mean and standard deviation over dim 1, with keepdim=True.",
            "torch.std has Bessel's correction by default. Flatten the result.",
        ),
        level="medium",
        minutes=10,
    ),
    Exercise(
        "leave-one-out",
        "leave_one_out(rewards, prompts) returns the advantages (B,) of RLOO for completions with `rewards` "
        "(B,). `prompts` (B,) holds the number of the prompt that each completion answers. The numbers are "
        "arbitrary ints in any order, and prompts can have different numbers of completions. The baseline of "
        "a completion is the mean reward of the other completions of its prompt. A completion without others "
        "has the advantage 0.",
        leave_one_out,
        _group_probes,
        (
            Mistake(
                "own reward in the baseline",
                "the baseline is the mean of the whole group, with the completion itself",
                "Leave the completion out of its own baseline: (sum of the group - own reward) / (size - 1).",
                partial(leave_one_out, included=True),
            ),
            Mistake(
                "divided by the deviation",
                "the advantages are divided by the standard deviation of the group, as in GRPO",
                "RLOO only subtracts a baseline.",
                partial(leave_one_out, scaled=True),
            ),
            Mistake(
                "prompts ignored",
                "the baseline is the mean of all other completions of the batch",
                "Completions of an easy prompt would all look good. Compare within a prompt.",
                partial(leave_one_out, whole_batch=True),
            ),
            Mistake(
                "reward of a completion without others",
                "a completion that is alone keeps its reward as the advantage",
                "There is nothing to compare it with. Its advantage is 0.",
                partial(leave_one_out, lonely=False),
            ),
            Mistake(
                "sign",
                "the reward is subtracted from the baseline",
                "A completion that is better than the others has a positive advantage.",
                lambda rewards, prompts: -leave_one_out(rewards, prompts),
            ),
        ),
        (
            "Which completions belong to the same prompt? A comparison of each with each gives a matrix.",
            "From the sum of the rewards of a group you get the sum of the others by a subtraction.",
            "same = prompts[:, None] == prompts[None, :] has the shape (B, B). Sums are same @ rewards, and "
            "sizes same.sum(dim=1). Take care not to divide by 0.",
        ),
        level="medium",
        minutes=15,
        after="A baseline that does not depend on the completion leaves the expected gradient unchanged and "
        "lowers its variance. For groups of G completions, the result is G / (G - 1) times the centered "
        "reward, so RLOO and Dr. GRPO differ by a constant factor.",
    ),
)
