"""Exercises of the post-training chapter: advantages and policy gradients."""

from functools import partial
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.post_training.rl.grpo import group_advantages
from llmguide.post_training.rl.policy_gradient import clipped_surrogate
from llmguide.post_training.rl.ppo import gae


def _advantages(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    return gae(rewards, values, gamma=gamma, lam=lam)[0]


def _backwards(rewards: Tensor, following: Tensor, values: Tensor, gamma: float, decay: float) -> Tensor:
    """Advantages from any notion of the next value, and any factor of the next advantage."""
    deltas = (rewards + gamma * following - values).flip(1).unbind(1)
    found = list(accumulate(deltas, lambda advantage, delta: delta + decay * advantage))
    return torch.stack(found, dim=1).flip(1)


def _next(values: Tensor) -> Tensor:
    return F.pad(values[:, 1:], (0, 1))


def _gae_probes() -> list[Arguments]:
    return [
        (noise(6, 2, 4), noise(7, 2, 4), 0.9, 0.8),
        (torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.2, 0.5, 0.6]]), 0.95, 0.5),
    ]


_GAE = Exercise(
    "gae",
    "gae(rewards, values, gamma, lam): advantages (B, T). delta_t = r_t + gamma V_(t+1) - V_t and "
    "A_t = delta_t + gamma lam A_(t+1); after the last token the value is 0.",
    _advantages,
    _gae_probes,
    (
        Mistake(
            "next value off by one",
            "the value of the same token stands where that of the next belongs",
            "delta compares V_t with what came: r_t and the value one token later.",
            lambda r, v, gamma, lam: _backwards(r, v, v, gamma, gamma * lam),
        ),
        Mistake(
            "value after the end",
            "the last value is used again after the last token",
            "The answer is over: the next value is 0.",
            lambda r, v, gamma, lam: _backwards(
                r, torch.cat([v[:, 1:], v[:, -1:]], dim=1), v, gamma, gamma * lam
            ),
        ),
        Mistake(
            "lambda forgotten",
            "the next advantage is multiplied by gamma alone",
            "gamma * lam.",
            lambda r, v, gamma, lam: _backwards(r, _next(v), v, gamma, gamma),
        ),
        Mistake(
            "gamma forgotten in the sum",
            "the next advantage is multiplied by lambda alone",
            "gamma * lam.",
            lambda r, v, gamma, lam: _backwards(r, _next(v), v, gamma, lam),
        ),
        Mistake(
            "one step only",
            "the deltas are returned, as with lambda 0",
            "Add gamma lam times the advantage of the next token, from the end to the start.",
            lambda r, v, gamma, lam: _backwards(r, _next(v), v, gamma, 0.0),
        ),
        Mistake(
            "returns instead of advantages",
            "the values are added: these are the returns",
            "Returns train the value model, advantages the policy.",
            lambda r, v, gamma, lam: _advantages(r, v, gamma, lam) + v,
        ),
        Mistake(
            "forwards instead of backwards",
            "the sum runs from the first token to the last",
            "A token is responsible for what comes after it.",
            lambda r, v, gamma, lam: _backwards(
                r.flip(1), _next(v).flip(1), v.flip(1), gamma, gamma * lam
            ).flip(1),
        ),
    ),
    ("Loop over t from the end.", "Keep two things: the next value and the next advantage."),
)


def _in_groups(
    rewards: Tensor, group_size: int, *, correction: int = 1, eps: float = 1e-4, centred: bool = True
) -> Tensor:
    grouped = rewards.view(-1, group_size)
    mean = grouped.mean(dim=1, keepdim=True) if centred else 0.0
    return ((grouped - mean) / (grouped.std(dim=1, keepdim=True, correction=correction) + eps)).flatten()


_GROUP_ADVANTAGES = Exercise(
    "group-advantages",
    "group_advantages(rewards, group_size): (r - mean) / (std + 1e-4) within each group of neighboring "
    "answers, "
    "std with Bessel's correction.",
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
            "mean and deviation are those of all answers together",
            "Answers to an easy question would all look good. Compare within a group: view(-1, group_size).",
            lambda rewards, group_size: _in_groups(rewards, len(rewards)),
        ),
        Mistake(
            "deviation without Bessel's correction",
            "the variance is divided by G instead of G - 1",
            "torch.std divides by G - 1 by itself; numpy's does not.",
            partial(_in_groups, correction=0),
        ),
        Mistake(
            "division by zero",
            "nothing keeps the division finite in a group of equal rewards",
            "Add 1e-4 to the deviation. Such a group teaches nothing: advantages of 0.",
            partial(_in_groups, eps=0.0),
        ),
        Mistake(
            "mean not subtracted",
            "the rewards are only divided",
            "Without a baseline every answer with a positive reward is reinforced.",
            partial(_in_groups, centred=False),
        ),
    ),
    ("rewards.view(-1, group_size), then mean and std over dim 1.",),
)


def _surrogate(logp: Tensor, old_logp: Tensor, advantages: Tensor, clip: float) -> Tensor:
    return clipped_surrogate(logp, old_logp, advantages, clip_eps=clip)


def _surrogate_probes() -> list[Arguments]:
    logp = torch.tensor([2.0, 0.5, 2.0, 0.5, 1.1]).log()
    return [(logp, torch.zeros(5), torch.tensor([1.0, 1.0, -1.0, -1.0, 2.0]), 0.2)]


_PPO_CLIP = Exercise(
    "ppo-clip",
    "surrogate(logp, old_logp, advantages, clip): PPO's loss of each action, minus the smaller of the "
    "ratio times "
    "the advantage and the clipped ratio times the advantage.",
    _surrogate,
    _surrogate_probes,
    (
        Mistake(
            "larger instead of smaller",
            "the larger of the two is taken",
            "The minimum is a bound from below: what is good beyond the clip does not count, what is "
            "bad does.",
            lambda logp, old, advantages, clip: (
                -torch.maximum(
                    (logp - old).exp() * advantages,
                    (logp - old).exp().clamp(1 - clip, 1 + clip) * advantages,
                )
            ),
        ),
        Mistake(
            "only the clipped term",
            "the ratio is always clipped",
            "Where the ratio has gone the wrong way, the gradient has to bring it back. Take the "
            "minimum of both.",
            lambda logp, old, advantages, clip: -(logp - old).exp().clamp(1 - clip, 1 + clip) * advantages,
        ),
        Mistake(
            "not clipped",
            "the ratio is not clipped",
            "Several steps on the same answers would go as far as they can.",
            lambda logp, old, advantages, clip: -(logp - old).exp() * advantages,
        ),
        Mistake(
            "ratio upside down",
            "the ratio is old over new",
            "exp(logp - old_logp).",
            lambda logp, old, advantages, clip: _surrogate(old, logp, advantages, clip),
        ),
        Mistake(
            "sign of the loss",
            "the objective is returned, which an optimizer would minimize",
            "A loss is minimized: put a minus in front.",
            lambda logp, old, advantages, clip: -_surrogate(logp, old, advantages, clip),
        ),
    ),
    ("Four cases: ratio too high or too low, advantage positive or negative.",),
)


EXERCISES = (
    _GAE,
    _GROUP_ADVANTAGES,
    _PPO_CLIP,
)
