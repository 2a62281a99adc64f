r"""Direct preference optimization (DPO): learning from preference pairs without a reward model.

The policy that maximizes reward minus $\beta$ times its KL divergence from a reference model is
$\pi(y \mid x) \propto \pi_{ref}(y \mid x) \exp(r(x, y) / \beta)$. Solved for the reward,

$$r(x, y) = \beta \log \frac{\pi(y \mid x)}{\pi_{ref}(y \mid x)} + \beta \log Z(x)$$

and $Z$ cancels in the difference of two completions of one prompt, which is all that the Bradley-Terry model
needs:

$$L = -\log \sigma\!\left(\beta \log \frac{\pi(y_w)}{\pi_{ref}(y_w)}
    - \beta \log \frac{\pi(y_l)}{\pi_{ref}(y_l)}\right)$$

The gradient of a pair is weighted by how wrongly the implicit rewards $\hat r$ rank it:

$$\nabla L = -\beta\, \sigma(\hat r_l - \hat r_w) \left(\nabla \log \pi(y_w) - \nabla \log \pi(y_l)\right)$$

References: Rafailov et al. 2023, arXiv:2305.18290, equations 4 to 7; label smoothing, "conservative DPO"
(Mitchell 2023, https://ericmitchell.ai/cdpo.pdf). IPO, KTO, ORPO and SimPO:
`llmguide.post_training.preferences.dpo_variants`.

Leaves out: divergences other than the KL divergence.

Glossary: ``B`` pairs; ``T`` tokens; ``V`` vocabulary size; $w$ the chosen completion, $l$ the rejected.
"""

from collections.abc import Callable
from copy import deepcopy
from inspect import signature
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.arguments import checked
from llmguide.data.tokens.windows import to_device
from llmguide.post_training.preferences.pairs import (
    PreferenceBatch,
    PreferenceDataset,
    pair_logprobs,
    reference_logprobs,
)
from llmguide.training._chunked_losses import counted_targets


class PreferenceLossOutput(NamedTuple):
    """The loss over preference pairs, and the policy's implicit rewards.

    Attributes:
        loss: Mean loss over the pairs.
        chosen_rewards: Implicit reward of each chosen completion, without gradient.
        rejected_rewards: Implicit reward of each rejected completion, without gradient.
    """

    loss: Float[Tensor, ""]
    chosen_rewards: Float[Tensor, " B"]
    rejected_rewards: Float[Tensor, " B"]

    @property
    def margins(self) -> Float[Tensor, " B"]:
        """Implicit reward of each chosen completion minus that of the rejected one."""
        return self.chosen_rewards - self.rejected_rewards

    @property
    def accuracy(self) -> float:
        """Fraction of the pairs whose chosen completion has the higher reward; a tie counts as wrong."""
        return (self.margins > 0).double().mean().item()

    def metrics(self) -> dict[str, float]:
        """Return the means over the pairs, for a logger."""
        return {
            "loss": self.loss.item(),
            "rewards/chosen": self.chosen_rewards.mean().item(),
            "rewards/rejected": self.rejected_rewards.mean().item(),
            "rewards/margins": self.margins.mean().item(),
            "rewards/accuracies": self.accuracy,
        }


@checked
def sequence_logprob(logits: Float[Tensor, "B T V"], labels: Int[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Compute the log-probability of each row's labels, summed over unmasked positions.

    Args:
        logits: Logits of a model.
        labels: Token id that follows each position, or -100 where it is masked.

    Returns:
        Sums in float32 or wider; 0, the logarithm of 1, for a fully masked row.

    >>> from llmguide import sequence_logprob
    >>> logits = torch.tensor([[[0.0, 0.0], [1.0986123, 0.0]]])  # log 0.5, then log 0.75
    >>> sequence_logprob(logits, torch.tensor([[1, 0]])).exp()
    tensor([0.3750])
    """
    is_counted = counted_targets(labels, logits.shape[-1])
    logprobs = upcast(logits).log_softmax(dim=-1)
    label_logprobs = logprobs.gather(-1, labels.where(is_counted, 0)[..., None])[..., 0]
    return label_logprobs.where(is_counted, 0.0).sum(dim=-1)


@checked
def dpo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    ref_chosen: Float[Tensor, " B"],
    ref_rejected: Float[Tensor, " B"],
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> PreferenceLossOutput:
    """Compute the DPO loss from summed log-probabilities of completions.

    Args:
        policy_chosen: Log-probability of each chosen completion under the policy.
        policy_rejected: Log-probability of each rejected completion under the policy.
        ref_chosen: Log-probability of each chosen completion under the reference model, computed without
            gradients.
        ref_rejected: Log-probability of each rejected completion under the reference model, likewise.
        beta: KL coefficient, above 0; smaller values let the policy move further from the reference model.
        label_smoothing: Probability that a label is flipped, below 0.5; above 0 the optimal margin is finite.

    Returns:
        The mean loss and the implicit rewards, in float32 or wider.

    Raises:
        ValueError: If `beta` or `label_smoothing` is out of range.

    >>> from llmguide import dpo_loss
    >>> a, b = torch.tensor([-1.0]), torch.tensor([-2.0])
    >>> round(dpo_loss(a, b, a, b).loss.item(), 4)  # policy and reference agree: log 2
    0.6931
    >>> output = dpo_loss(a + 5, b - 5, a, b)  # rewards 0.5 and -0.5: log(1 + 1/e)
    >>> round(output.loss.item(), 4), output.margins, output.accuracy
    (0.3133, tensor([1.]), 1.0)
    """
    check_beta(beta)
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing={label_smoothing} must be at least 0 and below 0.5")
    chosen = beta * (upcast(policy_chosen) - ref_chosen)
    rejected = beta * (upcast(policy_rejected) - ref_rejected)
    margin = chosen - rejected
    losses = -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
    return PreferenceLossOutput(losses.mean(), chosen.detach(), rejected.detach())


def upcast(values: Tensor) -> Tensor:
    """Convert half precision to float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def check_beta(beta: float) -> None:
    """Raise an error unless the KL coefficient is positive."""
    if not beta > 0:
        raise ValueError(f"beta={beta} must be above 0: at 0 no completion is preferred to another")


def make_reference_model(model: nn.Module) -> nn.Module:
    """Copy a model as the frozen reference model, without dropout and gradients."""
    return deepcopy(model).eval().requires_grad_(False)


def preference_objective(
    loss: Callable[..., PreferenceLossOutput],
    reference_model: nn.Module | None = None,
    *,
    per_token: bool | None = None,
    watch: Callable[[PreferenceLossOutput], None] | None = None,
) -> Callable[[Any, PreferenceBatch], tuple[Tensor, int]]:
    """Make a loss for `llmguide.training.train.train` on a `PreferenceDataset`.

    Args:
        loss: `dpo_loss` or another of `llmguide.post_training.preferences.dpo_variants`, other arguments
            bound with `functools.partial`.
        reference_model: Result of `make_reference_model`, run on every batch. None: the data set stores its
            log-probabilities (`PreferenceDataset.with_reference`), or the loss needs none (ORPO, SimPO).
        per_token: Whether the loss takes mean log-probabilities per token (IPO as its authors ran it, ORPO,
            SimPO) instead of sums. None: sums, for a loss that needs a reference model.
        watch: Function that is called with the output of the loss for every batch.

    Returns:
        Function from a model and a batch to the mean loss and the number of pairs.

    Raises:
        ValueError: The loss needs no reference model and `per_token` is not given. On a batch: the loss needs
            one and there is none, or it is the policy.

    >>> from functools import partial
    >>> objective = preference_objective(partial(dpo_loss, beta=0.5))
    """
    needs_reference, takes_reference = not _takes(loss, 2), _takes(loss, 4)
    if per_token is None and not needs_reference:
        raise ValueError(
            "without a reference model, sums of log-probabilities favor short completions: pass "
            "per_token=True, which ORPO and SimPO require (False for a loss that is defined on sums)"
        )

    def objective(model: Any, batch: PreferenceBatch) -> tuple[Tensor, int]:
        if reference_model is model:
            raise ValueError("reference_model is the policy itself and would change with it")
        logprobs, lengths = pair_logprobs(model, batch)
        ref_logprobs = batch.ref_logprobs
        if reference_model is not None:
            ref_logprobs = reference_logprobs(reference_model, batch)
        scale = lengths.clamp(min=1) if per_token else 1
        chosen, rejected = (logprobs / scale).chunk(2)
        if ref_logprobs is None and needs_reference:
            raise ValueError(
                "the loss needs a reference: pass reference_model=make_reference_model(model), or store its "
                "log-probabilities in the data set with PreferenceDataset.with_reference"
            )
        if ref_logprobs is None or not takes_reference:
            output = loss(chosen, rejected)
        else:
            ref_chosen, ref_rejected = (ref_logprobs / scale).chunk(2)
            output = loss(chosen, rejected, ref_chosen, ref_rejected)
        if watch is not None:
            watch(output)
        return output.loss, len(chosen)

    return objective


def _takes(loss: Callable[..., PreferenceLossOutput], n_arguments: int) -> bool:
    try:
        signature(loss).bind(*range(n_arguments))
    except TypeError:
        return False
    return True


@torch.no_grad()
def evaluate_preferences(
    model: nn.Module,
    pairs: PreferenceDataset,
    loss: Callable[..., PreferenceLossOutput] = dpo_loss,
    reference_model: nn.Module | None = None,
    *,
    per_token: bool | None = None,
    batch_size: int = 16,
) -> PreferenceLossOutput:
    """Compute the loss and the implicit rewards of all pairs, with dropout off.

    Args:
        model: The policy; its mode is restored.
        pairs: Pairs to evaluate.
        loss: Loss, as in `preference_objective`.
        reference_model: Reference model, as in `preference_objective`.
        per_token: Whether the loss takes means per token, as in `preference_objective`.
        batch_size: Pairs per forward pass.

    Returns:
        The mean loss, and the rewards in the order of the first epoch.
    """
    outputs: list[PreferenceLossOutput] = []
    objective = preference_objective(loss, reference_model, per_token=per_token, watch=outputs.append)
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    total = torch.tensor(0.0, device=device)
    for first in range(0, len(pairs), batch_size):
        batch = pairs.batch(first, min(batch_size, len(pairs) - first))
        mean, n_pairs = objective(model, to_device(batch, device))
        total += mean * n_pairs
    model.train(was_training)
    chosen = torch.cat([output.chosen_rewards for output in outputs])
    rejected = torch.cat([output.rejected_rewards for output in outputs])
    return PreferenceLossOutput(total / len(pairs), chosen, rejected)
