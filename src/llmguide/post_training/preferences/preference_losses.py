r"""IPO, KTO, ORPO and SimPO: four answers to what DPO leaves open, as functions of log-probabilities.

| loss | data | reference | takes |
| --- | --- | --- | --- |
| DPO | pairs | yes | sums |
| IPO | pairs | yes | means |
| KTO | good or bad answers | yes | sums |
| ORPO | pairs | no | means |
| SimPO | pairs | no | means |

IPO gives the margin a target, so that it cannot run away where all labels agree. KTO takes answers that were
only ever called good or bad. ORPO fine-tunes at the same time, and SimPO saves the reference.

"Means" are log-probabilities divided by the tokens of the answer: $p$ is the geometric mean of the
probabilities of its tokens. A sum falls with every token, so that without a reference long answers lose.

References: IPO (Azar et al. 2023, arXiv:2310.12036, equation 17; means as its authors ran it, see TRL);
KTO (Ethayarajh et al. 2024, arXiv:2402.01306, equations 7 and 8); ORPO (Hong et al. 2024, arXiv:2403.07691,
equations 4 to 7); SimPO (Meng et al. 2024, arXiv:2405.14734, equation 6).

Glossary: ``B`` pairs or answers, $w$ chosen, $l$ rejected, $h = \log \pi - \log \pi_{ref}$ log-ratios.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from llmguide.post_training.preferences.dpo import PreferenceLossOutput, check_beta, wide

CERTAIN = -1e-7  # log-probability above which ORPO takes an answer for certain, lest its odds be infinite


def ipo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    ref_chosen: Float[Tensor, " B"],
    ref_rejected: Float[Tensor, " B"],
    *,
    beta: float = 0.1,
) -> PreferenceLossOutput:
    r"""Square the distance of the margin from $1 / (2 \beta)$.

    $$\left(h_w - h_l - \frac{1}{2 \beta}\right)^2$$

    Args:
        policy_chosen: Mean log-probability of a token of the chosen answers; sums, to follow the paper to the
            letter.
        policy_rejected: Of the rejected answers.
        ref_chosen: Of the chosen answers, by the reference.
        ref_rejected: Of the rejected answers.
        beta: Weight of the divergence, $\tau$ in the paper.

    Returns:
        Loss, and `beta` times the log-ratios as rewards.

    >>> from llmguide import ipo_loss
    >>> a, b = torch.tensor([-1.0]), torch.tensor([-2.0])
    >>> ipo_loss(a, b, a, b, beta=0.25).loss  # margin 0, target 2
    tensor(4.)
    """
    check_beta(beta)
    chosen, rejected = wide(policy_chosen) - ref_chosen, wide(policy_rejected) - ref_rejected
    losses = (chosen - rejected - 1 / (2 * beta)) ** 2
    return PreferenceLossOutput(losses.mean(), beta * chosen.detach(), beta * rejected.detach())


def kto_loss(
    policy: Float[Tensor, " B"],
    reference: Float[Tensor, " B"],
    is_good: Bool[Tensor, " B"],
    kl: Float[Tensor, ""],
    *,
    beta: float = 0.1,
    good_weight: float = 1.0,
    bad_weight: float = 1.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
    r"""Reward good answers and punish bad ones, each beside what the policy gains on any answer.

    $$1 - \sigma(\pm \beta (h - \text{kl})),$$

    with the plus for good answers.

    Args:
        policy: Log-probabilities of the answers by the model that learns.
        reference: By the reference.
        is_good: Which answers are desirable.
        kl: Of `kto_kl`.
        beta: Weight of the divergence.
        good_weight: Weight of good answers. The paper advises good_weight x good answers to be 1 to 4/3 times
            bad_weight x bad answers.
        bad_weight: Weight of bad answers.

    Returns:
        The mean over the answers, and the reward of each, without gradient.

    >>> from llmguide import kto_loss
    >>> zero = torch.zeros(2)
    >>> loss, rewards = kto_loss(zero, zero, torch.tensor([True, False]), kto_kl(zero, zero), good_weight=3.0)
    >>> loss  # 0.5 from each, thrice from the good one
    tensor(1.)
    """
    check_beta(beta)
    ratio = wide(policy) - reference
    gain = beta * torch.where(is_good, ratio - kl, kl - ratio)
    weight = torch.where(is_good, good_weight, bad_weight)
    # 1 - sigmoid(gain), without the subtraction that loses what is left of it
    return (weight * torch.sigmoid(-gain)).mean(), beta * ratio.detach()


def kto_kl(policy: Float[Tensor, " B"], reference: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Estimate how far the policy is from the reference: at least 0, and without gradient.

    Args:
        policy: Log-probabilities, by the model that learns, of answers that belong to other prompts of the
            batch: the answer to one prompt after the next.
        reference: By the reference.

    Returns:
        The mean log-ratio.

    >>> kto_kl(torch.tensor([-3.0, -1.0]), torch.tensor([-4.0, -3.0]))
    tensor(1.5000)
    """
    return (wide(policy) - reference).mean().clamp(min=0.0).detach()


def orpo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    *,
    beta: float = 0.1,
    nll: Float[Tensor, ""] | None = None,
) -> PreferenceLossOutput:
    r"""Fine-tune on the chosen answers, and raise their odds, $\frac{p}{1 - p}$, above the rejected ones'.

    $$-\log p_w - \beta \log \sigma\left(\log \frac{p_w}{1 - p_w} - \log \frac{p_l}{1 - p_l}\right)$$

    Args:
        policy_chosen: Mean log-probability of a token of the chosen answers.
        policy_rejected: Of the rejected answers.
        beta: Weight of the odds ratio, $\lambda$ in the paper.
        nll: Loss of fine-tuning; None: minus the mean of `policy_chosen`, as in the paper. TRL takes the mean
            over all tokens, prompts included.

    Returns:
        Loss, and `beta` times the log-probabilities as rewards.

    >>> from llmguide import orpo_loss
    >>> log = torch.tensor([0.75, 0.5]).log()
    >>> orpo_loss(log[:1], log[1:], beta=1.0).loss  # odds 3 to 1: -log 0.75, twice
    tensor(0.5754)
    """
    check_beta(beta)
    chosen, rejected = wide(policy_chosen), wide(policy_rejected)
    margin = _log_odds(chosen) - _log_odds(rejected)
    loss = (-chosen.mean() if nll is None else nll) - beta * F.logsigmoid(margin).mean()
    return PreferenceLossOutput(loss, beta * chosen.detach(), beta * rejected.detach())


def _log_odds(logprob: Tensor) -> Tensor:
    logprob = logprob.clamp(max=CERTAIN)
    return logprob - torch.log(-torch.expm1(logprob))


def simpo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    *,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> PreferenceLossOutput:
    r"""Ask the chosen answer to be ahead by a margin, by mean log-probability and without a reference.

    $$-\log \sigma(\beta (\log p_w - \log p_l) - \gamma)$$

    Args:
        policy_chosen: Mean log-probability of a token of the chosen answers.
        policy_rejected: Of the rejected answers.
        beta: Scale of the rewards. The paper's best are 2 to 2.5, with `gamma` half of it or more.
        gamma: The margin, in rewards.

    Returns:
        Loss, and `beta` times the log-probabilities as rewards.

    >>> from llmguide import simpo_loss
    >>> a, b = torch.tensor([-1.0]), torch.tensor([-1.5])
    >>> round(simpo_loss(a, b).loss.item(), 4)  # ahead by exactly the margin: log 2
    0.6931
    """
    check_beta(beta)
    chosen, rejected = beta * wide(policy_chosen), beta * wide(policy_rejected)
    loss = -F.logsigmoid(chosen - rejected - gamma).mean()
    return PreferenceLossOutput(loss, chosen.detach(), rejected.detach())
