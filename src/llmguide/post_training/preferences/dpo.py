r"""Direct preference optimization: learning from pairs of answers, without a reward model.

The policy that maximizes reward minus $\beta$ times its divergence from a reference is
$\pi(y \mid x) \propto \pi_{ref}(y \mid x) \exp(r(x, y) / \beta)$. Solved for the reward,

$$r(x, y) = \beta \log \frac{\pi(y \mid x)}{\pi_{ref}(y \mid x)} + \beta \log Z(x)$$

and $Z$ cancels in the difference of two answers to one prompt, which is all that Bradley-Terry needs:

$$L = -\log \sigma\!\left(\beta \log \frac{\pi(y_w)}{\pi_{ref}(y_w)}
    - \beta \log \frac{\pi(y_l)}{\pi_{ref}(y_l)}\right)$$

A pair counts for as much as the rewards $\hat r$ rank it wrongly:

$$\nabla L = -\beta\, \sigma(\hat r_l - \hat r_w) \left(\nabla \log \pi(y_w) - \nabla \log \pi(y_l)\right)$$

References: Rafailov et al. 2023, arXiv:2305.18290, equations 5 to 7; label smoothing, "conservative DPO"
(Mitchell 2023, https://ericmitchell.ai/cdpo.pdf). IPO, KTO, ORPO and SimPO:
`llmguide.post_training.preferences.preference_losses`.

Leaves out: divergences other than Kullback-Leibler's.

Glossary: ``B`` pairs; ``T`` tokens; ``V`` vocabulary; $w$ the chosen answer, $l$ the rejected.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.data.tokens.windows import IGNORE_INDEX, to_device
from llmguide.post_training.preferences.pairs import PairBatch, Pairs, pair_logprobs, reference_logprobs


class PreferenceLossOutput(NamedTuple):
    """A loss over pairs, and what the policy thinks of them.

    Attributes:
        loss: Mean over the pairs.
        chosen_rewards: Implicit reward of each chosen answer, without gradient.
        rejected_rewards: The same of each rejected answer.
    """

    loss: Float[Tensor, ""]
    chosen_rewards: Float[Tensor, " B"]
    rejected_rewards: Float[Tensor, " B"]

    @property
    def margins(self) -> Float[Tensor, " B"]:
        """By how much each chosen answer is ahead."""
        return self.chosen_rewards - self.rejected_rewards

    @property
    def accuracy(self) -> float:
        """Share of the pairs whose chosen answer is ahead; a tie is not."""
        return (self.margins > 0).double().mean().item()

    def metrics(self) -> dict[str, float]:
        """Return the means, for a log."""
        return {
            "loss": self.loss.item(),
            "rewards/chosen": self.chosen_rewards.mean().item(),
            "rewards/rejected": self.rejected_rewards.mean().item(),
            "rewards/margins": self.margins.mean().item(),
            "rewards/accuracies": self.accuracy,
        }


def sequence_logprob(logits: Float[Tensor, "B T V"], labels: Int[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Log-probability of the labels of each row: the sum over those that count.

    Args:
        logits: Of a model.
        labels: What should follow each position; -100 where it does not count.

    Returns:
        Sums in float32 or wider; 0, the logarithm of 1, where nothing counts.

    >>> from llmguide import sequence_logprob
    >>> logits = torch.tensor([[[0.0, 0.0], [1.0986123, 0.0]]])  # log 0.5, then log 0.75
    >>> sequence_logprob(logits, torch.tensor([[1, 0]])).exp()
    tensor([0.3750])
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    kept = labels != IGNORE_INDEX
    found = logits.log_softmax(dim=-1, dtype=wide).gather(-1, labels.where(kept, 0)[..., None])[..., 0]
    return found.where(kept, 0.0).sum(dim=-1)


def dpo_loss(
    policy_chosen: Float[Tensor, " B"],
    policy_rejected: Float[Tensor, " B"],
    ref_chosen: Float[Tensor, " B"],
    ref_rejected: Float[Tensor, " B"],
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> PreferenceLossOutput:
    """Compute the loss of DPO from log-probabilities of whole answers.

    Args:
        policy_chosen: Of the chosen answers, by the model that learns.
        policy_rejected: Of the rejected answers.
        ref_chosen: Of the chosen answers, by the reference.
        ref_rejected: Of the rejected answers.
        beta: Weight of the divergence; smaller values let the policy go further.
        label_smoothing: Probability that a label is the wrong way round, below 0.5. It keeps the margin that
            is best finite.

    Returns:
        Loss and rewards, in float32 or wider.

    Raises:
        ValueError: If `beta` or `label_smoothing` is out of range.

    >>> from llmguide import dpo_loss
    >>> a, b = torch.tensor([-1.0]), torch.tensor([-2.0])
    >>> round(dpo_loss(a, b, a, b).loss.item(), 4)  # policy and reference agree: log 2
    0.6931
    >>> found = dpo_loss(a + 5, b - 5, a, b)  # rewards 0.5 and -0.5: log(1 + 1/e)
    >>> round(found.loss.item(), 4), found.margins, found.accuracy
    (0.3133, tensor([1.]), 1.0)
    """
    check_beta(beta)
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing={label_smoothing} must be at least 0 and below 0.5")
    chosen, rejected = (
        beta * (wide(policy_chosen) - ref_chosen),
        beta * (wide(policy_rejected) - ref_rejected),
    )
    margin = chosen - rejected
    losses = -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
    return PreferenceLossOutput(losses.mean(), chosen.detach(), rejected.detach())


def wide(values: Tensor) -> Tensor:
    """Widen half precision to float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def check_beta(beta: float) -> None:
    """Reject what is no weight of a divergence."""
    if not beta > 0:
        raise ValueError(f"beta={beta} must be above 0: at 0 no answer is preferred to another")


def make_reference_model(model: nn.Module) -> nn.Module:
    """Copy a model as the reference that it will be compared with: no dropout, no gradients."""
    return deepcopy(model).eval().requires_grad_(False)


def preference_objective(
    loss: Callable[..., PreferenceLossOutput],
    reference: nn.Module | None = None,
    *,
    per_token: bool = False,
    watch: Callable[[PreferenceLossOutput], None] | None = None,
) -> Callable[[Any, PairBatch], tuple[Tensor, int]]:
    """Make the loss that `llmguide.training.train.train` lowers on `Pairs`.

    Args:
        loss: `dpo_loss` or another of `llmguide.post_training.preferences.preference_losses`, other arguments
            bound with `functools.partial`.
        reference: Of `make_reference_model`, run on every batch. None: the pairs know its log-probabilities
            (`Pairs.with_reference`), or the loss takes none (ORPO, SimPO).
        per_token: Whether the loss takes means over the tokens of an answer (IPO as its authors ran it, ORPO,
            SimPO) instead of sums.
        watch: Is shown the rewards of every batch.

    Returns:
        Maps a model and a batch to the mean loss and the number of pairs.

    >>> from functools import partial
    >>> objective = preference_objective(partial(dpo_loss, beta=0.5))
    """

    def objective(model: Any, batch: PairBatch) -> tuple[Tensor, int]:
        found = [*pair_logprobs(model, batch)]
        known = batch.reference if reference is None else reference_logprobs(reference, batch)
        scale = found[1].clamp(min=1) if per_token else 1
        answers = [found[0]] if known is None else [found[0], known]
        preference = loss(*(half for logprobs in answers for half in (logprobs / scale).chunk(2)))
        if watch is not None:
            watch(preference)
        return preference.loss, len(batch.inputs) // 2

    return objective


@torch.no_grad()
def judge(
    model: nn.Module,
    pairs: Pairs,
    loss: Callable[..., PreferenceLossOutput] = dpo_loss,
    reference: nn.Module | None = None,
    *,
    per_token: bool = False,
    batch_size: int = 16,
) -> PreferenceLossOutput:
    """Compute loss and rewards over all pairs with dropout off; arguments as in `preference_objective`.

    Returns:
        The mean loss, and the rewards in the order of the first epoch.
    """
    found: list[PreferenceLossOutput] = []
    objective = preference_objective(loss, reference, per_token=per_token, watch=found.append)
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    sizes = [min(batch_size, len(pairs) - start) for start in range(0, len(pairs), batch_size)]
    for i, size in enumerate(sizes):
        objective(model, to_device(pairs.batch(i * batch_size, size), device))
    model.train(was_training)
    mean = sum((part.loss * size for part, size in zip(found, sizes, strict=True)), torch.tensor(0.0))
    chosen, rejected = (torch.cat(side) for side in ([p[i] for p in found] for i in (1, 2)))
    return PreferenceLossOutput(mean.to(chosen.device) / len(pairs), chosen, rejected)
