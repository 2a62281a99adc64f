r"""Variants of DPO: the IPO, KTO, ORPO and SimPO losses, as functions of log-probabilities.

| loss | data | reference model | log-probabilities |
| --- | --- | --- | --- |
| DPO | pairs | yes | sums |
| IPO | pairs | yes | means |
| KTO | good or bad completions | yes | sums |
| ORPO | pairs | no | means |
| SimPO | pairs | no | means |

IPO gives the margin a target, so it cannot grow without bound if all labels agree. KTO needs only
completions that are labeled good or bad, not pairs. ORPO adds the fine-tuning loss, and SimPO needs no
reference model.

"Means" are log-probabilities divided by the number of tokens of the completion: $p$ is the geometric mean of
its token probabilities. A sum falls with every token, so without a reference model it favors short
completions.

References: IPO (Azar et al. 2023, arXiv:2310.12036, equation 17; means as its authors ran it, see TRL);
KTO (Ethayarajh et al. 2024, arXiv:2402.01306, equations 7 and 8); ORPO (Hong et al. 2024, arXiv:2403.07691,
equations 4 to 7); SimPO (Meng et al. 2024, arXiv:2405.14734, equation 6).

Glossary: ``B`` pairs or completions, $w$ chosen, $l$ rejected, $h = \log \pi - \log \pi_{ref}$ log-ratios.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from llmguide.arguments import checked
from llmguide.post_training.preferences.dpo import PreferenceLossOutput, check_beta, upcast

MAX_LOGPROB = -1e-7  # ORPO caps mean log-probabilities here, so that the odds stay finite


@checked
def ipo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    ref_chosen: Float[Tensor, " B"],
    ref_rejected: Float[Tensor, " B"],
    *,
    beta: float = 0.1,
) -> PreferenceLossOutput:
    r"""Compute the IPO loss: the squared distance of the margin from $1 / (2 \beta)$.

    $$\left(h_w - h_l - \frac{1}{2 \beta}\right)^2$$

    Args:
        policy_chosen: Mean log-probability per token of each chosen completion under the policy; the paper's
            formula has sums.
        policy_rejected: Mean log-probability per token of each rejected completion under the policy.
        ref_chosen: Mean log-probability per token of each chosen completion under the reference model.
        ref_rejected: Mean log-probability per token of each rejected completion under the reference model.
        beta: KL coefficient, above 0; $\tau$ in the paper.

    Returns:
        The mean loss, and `beta` times the log-ratios as rewards.

    >>> from llmguide import ipo_loss
    >>> a, b = torch.tensor([-1.0]), torch.tensor([-2.0])
    >>> ipo_loss(a, b, a, b, beta=0.25).loss  # margin 0, target 2
    tensor(4.)
    """
    check_beta(beta)
    chosen, rejected = upcast(policy_chosen) - ref_chosen, upcast(policy_rejected) - ref_rejected
    losses = (chosen - rejected - 1 / (2 * beta)) ** 2
    return PreferenceLossOutput(losses.mean(), beta * chosen.detach(), beta * rejected.detach())


@checked
def kto_loss(
    policy: Float[Tensor, " B"],
    reference: Float[Tensor, " B"],
    desirable: Bool[Tensor, " B"],
    kl: Float[Tensor, ""],
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
    r"""Compute the KTO loss of completions labeled desirable or undesirable.

    $$1 - \sigma(\pm \beta (h - \text{kl})),$$

    with the plus for desirable completions.

    Args:
        policy: Log-probability of each completion under the policy.
        reference: Log-probability of each completion under the reference model.
        desirable: Whether each completion is desirable.
        kl: Baseline of `kto_kl`, in nats.
        beta: KL coefficient, above 0.
        desirable_weight: Weight of desirable completions. The paper advises that desirable_weight times the
            number of desirable completions be 1 to 4/3 times undesirable_weight times that of the others.
        undesirable_weight: Weight of undesirable completions.

    Returns:
        The mean loss, and the reward of each completion, without gradient.

    >>> from llmguide import kto_loss
    >>> zero = torch.zeros(2)
    >>> desirable = torch.tensor([True, False])
    >>> loss, rewards = kto_loss(zero, zero, desirable, kto_kl(zero, zero), desirable_weight=3.0)
    >>> loss  # 0.5 from each, thrice from the desirable one
    tensor(1.)
    """
    check_beta(beta)
    ratio = upcast(policy) - reference
    gain = beta * torch.where(desirable, ratio - kl, kl - ratio)
    weight = torch.where(desirable, desirable_weight, undesirable_weight)
    # 1 - sigmoid(gain), without the loss of precision of a subtraction
    return (weight * torch.sigmoid(-gain)).mean(), beta * ratio.detach()


@checked
def kto_kl(policy: Float[Tensor, " B"], reference: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Estimate the KL divergence of the policy from the reference model: at least 0, without gradient.

    Args:
        policy: Log-probability under the policy of completions paired with other prompts of the batch.
        reference: Log-probability of the same under the reference model.

    Returns:
        The mean log-ratio in nats, or 0 if it is negative.

    >>> kto_kl(torch.tensor([-3.0, -1.0]), torch.tensor([-4.0, -3.0]))
    tensor(1.5000)
    """
    return (upcast(policy) - reference).mean().clamp(min=0.0).detach()


@checked
def orpo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    *,
    beta: float = 0.1,
    nll: Float[Tensor, ""] | None = None,
) -> PreferenceLossOutput:
    r"""Compute the ORPO loss: fine-tuning on chosen completions plus a penalty on the odds ratio.

    The odds of a completion are $\frac{p}{1 - p}$.

    $$-\log p_w - \beta \log \sigma\left(\log \frac{p_w}{1 - p_w} - \log \frac{p_l}{1 - p_l}\right)$$

    Args:
        policy_chosen: Mean log-probability per token of each chosen completion.
        policy_rejected: Mean log-probability per token of each rejected completion.
        beta: Weight of the odds-ratio term, above 0; $\lambda$ in the paper.
        nll: Fine-tuning loss; None: minus the mean of `policy_chosen`, as in the paper. TRL averages over all
            tokens, prompts included.

    Returns:
        The mean loss, and `beta` times the log-probabilities as rewards.

    >>> from llmguide import orpo_loss
    >>> log = torch.tensor([0.75, 0.5]).log()
    >>> orpo_loss(log[:1], log[1:], beta=1.0).loss  # odds 3 to 1: -log 0.75, twice
    tensor(0.5754)
    """
    check_beta(beta)
    chosen, rejected = upcast(policy_chosen), upcast(policy_rejected)
    margin = _log_odds(chosen) - _log_odds(rejected)
    loss = (-chosen.mean() if nll is None else nll) - beta * F.logsigmoid(margin).mean()
    return PreferenceLossOutput(loss, beta * chosen.detach(), beta * rejected.detach())


def _log_odds(logprob: Tensor) -> Tensor:
    logprob = logprob.clamp(max=MAX_LOGPROB)
    return logprob - torch.log(-torch.expm1(logprob))


@checked
def simpo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    *,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> PreferenceLossOutput:
    r"""Compute the SimPO loss: reference-free and length-normalized, with a target margin gamma.

    $$-\log \sigma(\beta (\log p_w - \log p_l) - \gamma)$$

    Args:
        policy_chosen: Mean log-probability per token of each chosen completion.
        policy_rejected: Mean log-probability per token of each rejected completion.
        beta: Scale of the rewards, above 0. The paper's best values are 2 to 2.5, with `gamma` at least half.
        gamma: Target margin between the rewards.

    Returns:
        The mean loss, and `beta` times the log-probabilities as rewards.

    >>> from llmguide import simpo_loss
    >>> a, b = torch.tensor([-1.0]), torch.tensor([-1.5])
    >>> round(simpo_loss(a, b).loss.item(), 4)  # ahead by exactly the margin: log 2
    0.6931
    """
    check_beta(beta)
    chosen, rejected = beta * upcast(policy_chosen), beta * upcast(policy_rejected)
    loss = -F.logsigmoid(chosen - rejected - gamma).mean()
    return PreferenceLossOutput(loss, chosen.detach(), rejected.detach())
