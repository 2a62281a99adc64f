"""Exercises of preferences and of adapters: losses of pairs, low-rank layers and their size, 4-bit codes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.post_training.adapters.lora_layer import add_low_rank
from llmguide.post_training.adapters.quantization import NF4, dequantize, quantize
from llmguide.post_training.preferences.dpo import dpo_loss
from llmguide.post_training.preferences.preference_losses import ipo_loss, simpo_loss

# ---- preferences -----------------------------------------------------------------------------------


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


# ---- adapters --------------------------------------------------------------------------------------


def _lora(x: Tensor, W: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    return add_low_rank(F.linear(x, W), x, A, B, alpha / len(A))


def _low_rank(x: Tensor, W: Tensor, A: Tensor, B: Tensor, scale: float) -> Tensor:
    return x @ W.T + scale * (x @ A.T) @ B.T


def _n_params(shapes: list[tuple[int, int]], rank: int) -> int:
    return sum(rank * (d_in + d_out) for d_in, d_out in shapes)


def _in_four_bits(block: Tensor) -> Tensor:
    codes, scales = quantize(block, NF4, len(block))
    return dequantize(codes, scales, NF4, len(block))


def _scaled_by(block: Tensor, scale: Tensor) -> Tensor:
    """The nearest codes of NF4, by any scale."""
    return scale * NF4[(block[:, None] / scale - NF4).abs().argmin(dim=1)]


EXERCISES = (
    Exercise(
        "dpo",
        "dpo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta): the mean loss, the rewards of "
        "the chosen completions and those of the rejected ones, from log-probabilities of whole completions.",
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
            "Reward: beta * (policy - reference).",
            "Loss: -logsigmoid(chosen reward - rejected reward), averaged.",
        ),
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
        ("The margin is the difference of two log-ratios, without beta.",),
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
        ("-logsigmoid(beta (mean of the chosen - mean of the rejected) - gamma), then the mean.",),
    ),
    Exercise(
        "lora",
        "lora(x, W, A, B, alpha): a linear layer W (out, in) with an adapter A (r, in), B (out, r) whose "
        "scale is alpha / r. No bias.",
        _lora,
        lambda: [(noise(17, 3, 6), noise(18, 5, 6), noise(19, 2, 6), noise(20, 5, 2), 8.0)],
        (
            Mistake(
                "scale forgotten",
                "the product of the adapter is added as it is",
                "Multiply by alpha / r.",
                lambda x, W, A, B, alpha: _low_rank(x, W, A, B, 1.0),
            ),
            Mistake(
                "alpha not divided by r",
                "the scale is alpha",
                "Divide by r, so that the update does not grow with the rank.",
                _low_rank,
            ),
            Mistake(
                "divided by the root of r",
                "the scale is alpha / sqrt(r) (this is rsLoRA)",
                "The original divides by r.",
                lambda x, W, A, B, alpha: _low_rank(x, W, A, B, alpha / len(A) ** 0.5),
            ),
            Mistake(
                "frozen layer forgotten",
                "only the adapter is applied",
                "The adapter adds to the frozen weights: x W^T + ...",
                lambda x, W, A, B, alpha: _low_rank(x, 0 * W, A, B, alpha / len(A)),
            ),
            Mistake(
                "frozen layer scaled as well",
                "the scale multiplies the sum",
                "Only the adapter's part is scaled.",
                lambda x, W, A, B, alpha: alpha / len(A) * _low_rank(x, W, A, B, 1.0),
            ),
        ),
        ("Compute two thin products instead of one with B A.",),
    ),
    Exercise(
        "lora-params",
        "lora_params(shapes, rank): the number of trainable parameters of LoRA on linear layers, each "
        "given as (d_in, d_out).",
        _n_params,
        lambda: [([(4096, 4096), (4096, 1024)], 16), ([(768, 3072), (3072, 768), (5, 7)], 8)],
        (
            Mistake(
                "the frozen weights counted",
                "the weights of the layers are counted, and not the adapters",
                "They are frozen. A has r rows of d_in numbers, B has d_out rows of r.",
                lambda shapes, rank: sum(d_in * d_out for d_in, d_out in shapes),
            ),
            Mistake(
                "one matrix of two",
                "only A is counted",
                "B has r d_out numbers more.",
                lambda shapes, rank: sum(rank * d_in for d_in, _ in shapes),
            ),
            Mistake(
                "product of the two",
                "the numbers of the product B A are counted, times the rank",
                "The product is never stored. Count its two thin factors.",
                lambda shapes, rank: sum(rank * d_in * d_out for d_in, d_out in shapes),
            ),
            Mistake(
                "frozen weights added",
                "the weights of the layers are counted too",
                "Count only what is trained.",
                lambda shapes, rank: _n_params(shapes, rank) + sum(i * o for i, o in shapes),
            ),
        ),
        ("How many numbers has A, of shape (r, d_in)? And B, of shape (d_out, r)?",),
    ),
    Exercise(
        "four-bits",
        "four_bits(block, codes) quantizes a block of numbers and returns the dequantized numbers. The block "
        "is stored as one scale and, for each number, the index of an entry of `codes`, a table of numbers "
        "from -1 to 1.",
        lambda block, codes: _in_four_bits(block),
        lambda: [
            (torch.tensor([0.5, -2.0, 0.0, 1.1]), NF4.clone()),
            (3 * noise(21, 12), NF4.clone()),
        ],
        (
            Mistake(
                "sign of the scale",
                "the block is divided by its largest number, and not by its largest magnitude",
                "A negative number can be the largest by magnitude. Take the absolute values first.",
                lambda block, codes: _scaled_by(block, block.max()),
            ),
            Mistake(
                "not scaled back",
                "the codes are returned as they are",
                "Multiply by the scale again.",
                lambda block, codes: _in_four_bits(block) / block.abs().max(),
            ),
            Mistake(
                "not scaled at all",
                "the numbers themselves are looked up",
                "Divide by the scale first: the table reaches from -1 to 1.",
                lambda block, codes: _scaled_by(block, torch.ones(())),
            ),
            Mistake(
                "code below instead of nearest",
                "the largest code that is not above a number is taken",
                "Compare the distances to all codes: argmin.",
                lambda block, codes: (
                    block.abs().max() * codes[((block / block.abs().max())[:, None] >= codes).sum(dim=1) - 1]
                ),
            ),
        ),
        (
            "The scale is the largest magnitude of the block.",
            "For each number, find the index of the nearest code.",
        ),
    ),
)
