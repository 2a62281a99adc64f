"""Exercises of learning from preferences: the losses and their classic mistakes."""

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.post_training.preferences.dpo import dpo_loss
from llmguide.post_training.preferences.dpo_variants import ipo_loss, simpo_loss


def _dpo(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    found = dpo_loss(pc, pr, rc, rr, beta=beta)
    return found.loss, found.chosen_rewards, found.rejected_rewards


def _dpo_probes() -> list[Arguments]:
    return [(noise(2, 3) - 5, noise(3, 3) - 5, noise(4, 3) - 5, noise(5, 3) - 5, beta) for beta in (0.1, 0.5)]


def _dpo_beta_outside(
    pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    loss, chosen, rejected = _dpo(pc, pr, rc, rr, 1.0)
    return beta * loss, chosen, rejected


def _ipo(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor, beta: float) -> Tensor:
    return ipo_loss(pc, pr, rc, rr, beta=beta).loss


def _margin(pc: Tensor, pr: Tensor, rc: Tensor, rr: Tensor) -> Tensor:
    return (pc - rc) - (pr - rr)


def _simpo(chosen: Tensor, n_chosen: Tensor, rejected: Tensor, n_rejected: Tensor, beta: float) -> Tensor:
    return simpo_loss(chosen / n_chosen, rejected / n_rejected, beta=beta, gamma=GAMMA).loss


def _simpo_probes() -> list[Arguments]:
    lengths = torch.tensor([4.0, 9.0, 2.0]), torch.tensor([7.0, 3.0, 5.0])
    return [(-3 + noise(2, 3), lengths[0], -4 + noise(3, 3), lengths[1], beta) for beta in (1.0, 2.5)]


GAMMA = 0.5


EXERCISES = (
    Exercise(
        "dpo",
        "dpo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta): a tuple of the mean loss, the "
        "rewards of the chosen completions and those of the rejected ones, from log-probabilities of whole "
        "completions.",
        _dpo,
        _dpo_probes,
        (
            Mistake(
                "reference and policy swapped",
                "the rewards are beta times (reference - policy)",
                "A completion is rewarded for having become more likely than under the reference.",
                lambda pc, pr, rc, rr, beta: _dpo(rc, rr, pc, pr, beta),
            ),
            Mistake(
                "chosen and rejected swapped",
                "the loss falls when the rejected completion gets the higher reward",
                "The margin is chosen minus rejected.",
                lambda pc, pr, rc, rr, beta: _dpo(pr, pc, rr, rc, beta),
            ),
            Mistake(
                "reference forgotten",
                "the log-probabilities of the policy alone are the rewards",
                "Subtract those of the reference, or nothing holds the policy near it.",
                lambda pc, pr, rc, rr, beta: _dpo(pc, pr, 0 * rc, 0 * rr, beta),
            ),
            Mistake(
                "beta forgotten",
                "beta is not used",
                "The reward is beta times the difference of log-probabilities.",
                lambda pc, pr, rc, rr, beta: _dpo(pc, pr, rc, rr, 1.0),
            ),
            Mistake(
                "beta outside",
                "the loss is multiplied by beta instead of the margin",
                "Beta is inside the sigmoid.",
                _dpo_beta_outside,
            ),
            Mistake(
                "divided by beta",
                "the margin is divided by beta",
                "Rewards are beta times the log-ratio; a large beta keeps the policy close.",
                lambda pc, pr, rc, rr, beta: _dpo(pc, pr, rc, rr, 1 / beta),
            ),
            Mistake(
                "sign of the loss",
                "the logarithm of the sigmoid has no minus sign",
                "A loss is minimized: -logsigmoid(margin).",
                lambda pc, pr, rc, rr, beta: (
                    -_dpo(pc, pr, rc, rr, beta)[0],
                    *_dpo(pc, pr, rc, rr, beta)[1:],
                ),
            ),
        ),
        (
            "DPO is the loss of a reward model whose rewards are implicit. Compute the rewards first.",
            "Reward: beta * (policy - reference).",
            "Loss: -logsigmoid(chosen reward - rejected reward), averaged.",
        ),
        level="medium",
        minutes=10,
    ),
    Exercise(
        "ipo",
        "ipo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta): the mean loss of IPO, from "
        "log-probabilities: the squared distance of the margin from its target, 1 / (2 beta).",
        _ipo,
        _dpo_probes,
        (
            Mistake(
                "target without the 2",
                "the target of the margin is 1 / beta",
                "The target is 1 / (2 beta).",
                lambda pc, pr, rc, rr, beta: _ipo(pc, pr, rc, rr, beta / 2),
            ),
            Mistake(
                "target upside down",
                "the target of the margin is 2 beta",
                "A small beta lets the policy go further: the target grows as beta falls.",
                lambda pc, pr, rc, rr, beta: _ipo(pc, pr, rc, rr, 1 / (4 * beta)),
            ),
            Mistake(
                "margin times beta",
                "the margin is multiplied by beta, as in DPO, before the target is subtracted",
                "Beta is in the target already.",
                lambda pc, pr, rc, rr, beta: (
                    (beta * _margin(pc, pr, rc, rr) - 1 / (2 * beta)).square().mean()
                ),
            ),
            Mistake(
                "reference forgotten",
                "the margin is that of the policy alone",
                "Subtract the log-probabilities of the reference first.",
                lambda pc, pr, rc, rr, beta: _ipo(pc, pr, 0 * rc, 0 * rr, beta),
            ),
            Mistake(
                "chosen and rejected swapped",
                "the loss falls when the rejected completion is ahead",
                "The margin is chosen minus rejected.",
                lambda pc, pr, rc, rr, beta: _ipo(pr, pc, rr, rc, beta),
            ),
        ),
        (
            "The margin says how much more the policy prefers the chosen completion than the reference model "
            "does.",
            "The margin is the difference of two log-ratios, without beta.",
            "Subtract the target 1 / (2 beta) from the margin, square, and average.",
        ),
        level="medium",
        minutes=10,
    ),
    Exercise(
        "simpo",
        "simpo(chosen, n_chosen, rejected, n_rejected, beta): mean loss of SimPO with gamma = 0.5, from the "
        "log-probabilities of whole completions and their numbers of tokens.",
        _simpo,
        _simpo_probes,
        (
            Mistake(
                "sums instead of means",
                "the log-probabilities of whole completions are compared",
                "Without a reference, sums favor short completions. Divide by the number of tokens.",
                lambda c, n, r, m, beta: _simpo(c, n / n, r, m / m, beta),
            ),
            Mistake(
                "gamma added",
                "the chosen completion may be behind by gamma",
                "It has to be ahead by more than gamma: subtract it from the margin.",
                lambda c, n, r, m, beta: simpo_loss(c / n, r / m, beta=beta, gamma=-GAMMA).loss,
            ),
            Mistake(
                "gamma inside beta",
                "beta multiplies gamma as well",
                "Gamma is in units of the reward: beta times the margin, minus gamma.",
                lambda c, n, r, m, beta: simpo_loss(c / n, r / m, beta=beta, gamma=beta * GAMMA).loss,
            ),
            Mistake(
                "lengths swapped",
                "each sum is divided by the length of the other completion",
                "A mean is over the completion's own tokens.",
                lambda c, n, r, m, beta: _simpo(c, m, r, n, beta),
            ),
            Mistake(
                "chosen and rejected swapped",
                "the loss falls when the rejected completion is ahead",
                "The margin is chosen minus rejected.",
                lambda c, n, r, m, beta: _simpo(r, m, c, n, beta),
            ),
        ),
        (
            "SimPO has no reference model. What takes the place of the log-ratio?",
            "The reward is beta times the mean log-probability per token.",
            "-logsigmoid(beta (mean of the chosen - mean of the rejected) - gamma), then the mean.",
        ),
        level="medium",
        minutes=10,
    ),
)
