"""The exercise of KTO: a loss for completions that are good or bad, without pairs."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.post_training.preferences.dpo_variants import kto_kl, kto_loss


def kto(
    ratios: Tensor,
    desirable: Tensor,
    mismatched: Tensor,
    beta: float,
    desirable_weight: float,
    *,
    least: float = 0.0,
) -> Tensor:
    """Compute the KTO loss from log-ratios; ``least`` is the smallest reference point."""
    zero = torch.zeros_like(ratios)
    reference = kto_kl(mismatched, 0 * mismatched) if least == 0 else mismatched.mean().clamp(min=least)
    loss: Tensor = kto_loss(ratios, zero, desirable, reference, beta=beta, desirable_weight=desirable_weight)[
        0
    ]
    return loss


def _kto_mirrored(
    ratios: Tensor, desirable: Tensor, mismatched: Tensor, beta: float, desirable_weight: float
) -> Tensor:
    """Mirror the log-ratio of bad completions, but not the reference point."""
    reference = kto_kl(mismatched, 0 * mismatched)
    gain = beta * (torch.where(desirable, ratios, -ratios) - reference)
    return (torch.where(desirable, desirable_weight, 1.0) * (1 - gain.sigmoid())).mean()


def _kto_logarithm(
    ratios: Tensor, desirable: Tensor, mismatched: Tensor, beta: float, desirable_weight: float
) -> Tensor:
    reference = kto_kl(mismatched, 0 * mismatched)
    gain = beta * torch.where(desirable, ratios - reference, reference - ratios)
    return -(torch.where(desirable, desirable_weight, 1.0) * F.logsigmoid(gain)).mean()


def _kto_probes() -> list[Arguments]:
    desirable = torch.tensor([True, False, True, True, False])
    return [
        (2 * noise(41, 5), desirable, noise(42, 5) + 0.8, 0.3, 1.5),
        (noise(43, 5), ~desirable, noise(44, 5) - 1.0, 0.5, 2.0),
    ]


EXERCISES = (
    Exercise(
        "kto",
        "kto(ratios, desirable, mismatched, beta, desirable_weight) returns the loss of KTO, a scalar "
        "tensor. KTO needs no pairs: each of B completions is labeled desirable or not. `ratios` (B,) are "
        "the log-ratios of the completions' probabilities, policy to reference model, and `desirable` (B,)"
        " the labels. `mismatched` (B,) are log-ratios of completions that were paired with other prompts."
        " Their mean estimates the KL divergence of the policy from the reference model. This estimate, "
        "raised to 0 if it is negative, is the reference point. The value of a desirable completion is the"
        " sigmoid of beta times the amount by which its log-ratio is above the reference point; for any "
        "other, of beta times the amount by which it is below. The loss of a completion is 1 minus its "
        "value; that of a desirable one is multiplied by desirable_weight. Return the mean over the B "
        "completions.",
        kto,
        _kto_probes,
        (
            Mistake(
                "negative reference point",
                "the reference point can be negative",
                "A KL divergence is never below 0, but its estimate can be. Clamp it at 0.",
                partial(kto, least=-math.inf),
            ),
            Mistake(
                "reference point forgotten",
                "the log-ratios are compared with 0",
                "Subtract the mean of `mismatched` if it is positive. Otherwise a policy could lower the "
                "loss of all good completions by making everything more likely.",
                lambda ratios, desirable, mismatched, *rest: kto(ratios, desirable, 0 * mismatched, *rest),
            ),
            Mistake(
                "reference point not mirrored",
                "the log-ratio of a bad completion changes its sign, and the reference point does not",
                "For a bad completion the value rises as the log-ratio falls below the reference point: "
                "reference point minus log-ratio.",
                _kto_mirrored,
            ),
            Mistake(
                "bad treated as good",
                "the loss of bad completions falls when they become more likely",
                "Use the label to choose the sign.",
                lambda ratios, desirable, mismatched, beta, desirable_weight: (
                    torch.where(desirable, desirable_weight, 1.0)
                    * (1 - (beta * (ratios - kto_kl(mismatched, 0 * mismatched))).sigmoid())
                ).mean(),
            ),
            Mistake(
                "logarithm of the sigmoid",
                "the loss is -log sigmoid, as in DPO",
                "KTO's value function is the sigmoid itself. It saturates, so completions that are far from "
                "the reference point have little gradient.",
                _kto_logarithm,
            ),
            Mistake(
                "weight on the bad ones",
                "desirable_weight multiplies the loss of bad completions",
                "torch.where(desirable, desirable_weight, 1.0).",
                lambda ratios, desirable, mismatched, beta, desirable_weight: (
                    desirable_weight * kto(ratios, desirable, mismatched, beta, 1 / desirable_weight)
                ),
            ),
        ),
        (
            "Three steps: the reference point, one number; the value of each completion; the weighted mean.",
            "What changes between a good and a bad completion is one sign. torch.where chooses.",
            "1 - sigmoid(x) is sigmoid(-x), which keeps its digits where the sigmoid is close to 1.",
        ),
        level="medium",
        minutes=15,
        after="Thumbs up and thumbs down are easier to collect than comparisons. The reference point keeps "
        "the loss from rewarding a policy that makes everything more likely.",
    ),
)
