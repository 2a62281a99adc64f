"""Evaluate reward models: accuracy on held-out pairs, calibration, length bias.

References: Guo et al. 2017, arXiv:1706.04599 (expected calibration error); Singhal et al. 2023,
arXiv:2310.03716 (length).

Glossary: ``B`` pairs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from llmguide.evaluation.metrics import expected_calibration_error
from llmguide.post_training.preferences.reward_model import RewardModel, Rewards


class Evaluation(NamedTuple):
    """Rewards and lengths of held-out pairs.

    Attributes:
        chosen: Rewards of the preferred texts.
        rejected: Rewards of the other texts.
        chosen_lengths: Number of tokens of each preferred text.
        rejected_lengths: Number of tokens of each other text.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_lengths: Tensor
    rejected_lengths: Tensor


@torch.no_grad()
def score_texts(model: RewardModel, texts: Sequence[Sequence[int]], *, batch_size: int = 32) -> list[float]:
    """Score each text by itself, with dropout off; texts of similar length share a batch.

    Args:
        model: Reward model; its mode is restored.
        texts: Token ids of each text.
        batch_size: Texts per forward pass, at least 1.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rewards = [0.0] * len(texts)
    for first in range(0, len(order), batch_size):
        part = order[first : first + batch_size]
        rows = [torch.tensor(texts[i]) for i in part]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        scores = model(ids.to(device), attention_mask=mask.to(device)).tolist()
        for i, score in zip(part, scores, strict=True):
            rewards[i] = score
    model.train(was_training)
    return rewards


def accuracy(chosen: Rewards, rejected: Rewards) -> float:
    """Compute the fraction of pairs whose chosen completion has the higher reward; a tie is wrong, as in TRL.

    >>> accuracy(torch.tensor([2.0, 1.0, 0.0, 3.0]), torch.tensor([1.0, 1.0, 1.0, 1.0]))
    0.5
    """
    return (chosen > rejected).float().mean().item()


class Bin(NamedTuple):
    """Pairs of similar confidence: their number, mean confidence, and accuracy."""

    n: int
    confidence: float
    accuracy: float


def reliability(chosen: Rewards, rejected: Rewards, *, n_bins: int = 5) -> tuple[float, list[Bin]]:
    r"""Measure how well a reward model's confidence is calibrated.

    It prefers one completion with the confidence $\sigma(|r_w - r_l|)$, between 1/2 and 1. A calibrated model
    is right in 80% of the pairs with confidence 0.8. A policy trained against an overconfident model exploits
    its mistakes sooner.

    Args:
        chosen: Rewards of the preferred completions.
        rejected: Rewards of the other completions.
        n_bins: Number of bins of equal width between 1/2 and 1.

    Returns:
        Expected calibration error, and the nonempty bins in order of confidence.

    >>> chosen, rejected = torch.tensor([1.3863, 1.3863, 1.3863, 0.0]), torch.tensor([0.0, 0.0, 0.0, 1.3863])
    >>> reliability(chosen, rejected)  # confidence 4/5, accuracy 3/4
    (0.05, [Bin(n=4, confidence=0.8, accuracy=0.75)])
    """
    confidence, is_right = (chosen - rejected).abs().double().sigmoid(), chosen > rejected
    # twice as many bins between 0 and 1, whose lower half is empty
    error = expected_calibration_error(confidence.tolist(), is_right.tolist(), n_bins=2 * n_bins)
    place = ((confidence * 2 * n_bins).ceil().long() - 1 - n_bins).clamp(0, n_bins - 1)
    members = [place == i for i in range(n_bins)]
    return error, [
        Bin(int(part.sum()), confidence[part].mean().item(), is_right[part].double().mean().item())
        for part in members
        if part.any()
    ]


class LengthBias(NamedTuple):
    """How much of a reward model's preference is explained by length.

    Attributes:
        correlation: Pearson correlation of reward and length over all texts; NaN if either is constant.
        longer_wins: Fraction of pairs whose preferred text is the longer one.
        accuracy_longer: Accuracy of the model on pairs whose preferred text is the longer one.
        accuracy_shorter: Accuracy on the other pairs; far lower if the model counts tokens.
    """

    correlation: float
    longer_wins: float
    accuracy_longer: float
    accuracy_shorter: float


def length_bias(pairs: Evaluation) -> LengthBias:
    """Compare a reward model with the rule that the longer completion is better.

    Pairs of equal length are left out of the last three numbers; each is NaN if no pair remains.

    Args:
        pairs: Rewards, such as those of `score_texts`, and lengths.

    Returns:
        The comparison.

    >>> tokens, half = torch.tensor([30.0, 20.0]), torch.tensor([10.0, 40.0])
    >>> length_bias(Evaluation(tokens, half, tokens.long(), half.long()))  # a model that counts tokens
    LengthBias(correlation=1.0, longer_wins=0.5, accuracy_longer=1.0, accuracy_shorter=0.0)
    """
    rewards = torch.cat([pairs.chosen, pairs.rejected]).double()
    lengths = torch.cat([pairs.chosen_lengths, pairs.rejected_lengths]).double()
    is_longer = pairs.chosen_lengths > pairs.rejected_lengths
    is_shorter = pairs.chosen_lengths < pairs.rejected_lengths
    is_right = pairs.chosen > pairs.rejected
    return LengthBias(
        torch.corrcoef(torch.stack([rewards, lengths]))[0, 1].item(),
        _fraction(is_longer, is_longer | is_shorter),
        _fraction(is_right, is_longer),
        _fraction(is_right, is_shorter),
    )


def _fraction(is_true: Bool[Tensor, " B"], among: Bool[Tensor, " B"]) -> float:
    return is_true[among].double().mean().item()
