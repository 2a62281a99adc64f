r"""Reward models: one number for a text, learned from which of two answers people preferred.

Bradley and Terry: the probability that answer $y_w$ is preferred to $y_l$ is a logistic function of the
difference of their rewards, and the loss is its negative log-likelihood,

$$L = -\log \sigma\big(r(x, y_w) - r(x, y_l) - m\big) + c\,\big(r(x, y_w) + r(x, y_l)\big)^2$$

with a margin $m$ where the preference was strong. Only differences are learned: adding a constant to all
rewards of a prompt changes nothing, so rewards of different prompts are not comparable. The last term, where
$c > 0$, holds their mean at 0.

The model is a decoder whose output head is replaced by a single row; the last token of a text, which has seen
all of it, is the one that is read.

References: Bradley & Terry 1952, "Rank analysis of incomplete block designs"; Ouyang et al. 2022,
arXiv:2203.02155, section 3.5 (reward model); Touvron et al. 2023, arXiv:2307.09288, section 3.2.2 (margin);
Eisenstein et al. 2023, arXiv:2312.09244 (centring); Singhal et al. 2023, arXiv:2310.03716 (length).

Leaves out: ensembles, several heads, rankings of more than two answers.

Glossary: ``B`` pairs or texts, ``T`` tokens of the longest, ``D`` model width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.data.tokens.packing import in_epochs
from llmguide.evaluation.metrics import expected_calibration_error
from llmguide.models.inputs import AttentionMask
from llmguide.post_training.rl.rollout import Rollout, left_padded

Rewards = Float[Tensor, " B"]


class RewardModel(nn.Module):
    """A decoder that scores whole texts.

    Args:
        backbone: A decoder of `llmguide.models`, as a rule after supervised fine-tuning; its output head is
            not used.

    >>> from llmguide import ModelConfig, RewardModel, build
    >>> config = ModelConfig(vocab_size=7, context_length=8, n_layers=1, d_model=12, n_heads=2)
    >>> model = RewardModel(build(config))
    >>> left, right = torch.tensor([[0, 0, 3, 4]]), torch.tensor([[3, 4, 0, 0]])
    >>> a = model(left, attention_mask=torch.tensor([[0, 0, 1, 1]]))
    >>> b = model(right, attention_mask=torch.tensor([[1, 1, 0, 0]]))
    >>> a.shape, torch.allclose(a, b)
    (torch.Size([1]), True)
    """

    def __init__(self, backbone: Any):
        super().__init__()
        self.backbone = backbone
        width = backbone.config.d_model
        self.head = nn.Linear(width, 1, bias=False)  # a bias would cancel in every difference
        nn.init.normal_(self.head.weight, std=(width + 1) ** -0.5)

    def forward(self, ids: Int[Tensor, "B T"], *, attention_mask: AttentionMask | None = None) -> Rewards:
        """Score each text at its last token.

        Args:
            ids: Prompts with answers, padded on either side.
            attention_mask: 1 for tokens and 0 for padding; None: there is none.

        Returns:
            Rewards in float32.

        Raises:
            ValueError: A text has no token.
        """
        mask = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        if not mask.any(dim=1).all():
            empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
            raise ValueError(f"texts {empty} have no token to be scored at")
        hidden = self.backbone.hidden(ids, attention_mask=left_padded(mask))
        last = ids.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
        rewards: Tensor = self.head(hidden[torch.arange(len(ids), device=ids.device), last]).squeeze(-1)
        return rewards.float()

    @torch.no_grad()
    def score(self, rollouts: Rollout) -> Rewards:
        """Score the answers of a rollout, prompts included: what PPO and GRPO take as their reward."""
        rewards: Tensor = self(rollouts.ids, attention_mask=rollouts.attention_mask)
        return rewards


def bradley_terry_loss(
    chosen: Rewards, rejected: Rewards, margin: Rewards | None = None, *, centering: float = 0.0
) -> Float[Tensor, ""]:
    r"""Mean of $-\log \sigma(r_w - r_l - m) + c\,(r_w + r_l)^2$.

    Args:
        chosen: Rewards of the preferred answers.
        rejected: Rewards of the others.
        margin: By how much each should be better at least; None: 0.
        centering: $c$; 0.01 is usual.

    Returns:
        The loss, in float32 or wider; log 2 where both are alike.

    >>> from llmguide import bradley_terry_loss
    >>> loss = bradley_terry_loss(torch.tensor([2.0]), torch.tensor([0.9014]))  # -log of 3/4
    >>> round(loss.item(), 4), round(bradley_terry_loss(torch.zeros(1), torch.zeros(1)).item(), 4)
    (0.2877, 0.6931)
    """
    chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
    difference = chosen - rejected if margin is None else chosen - rejected - margin
    loss = -F.logsigmoid(difference).mean()
    return loss + centering * (chosen + rejected).square().mean() if centering else loss


class Comparison(NamedTuple):
    """Two answers to one prompt, the better one first; ids include the prompt."""

    chosen: Sequence[int]
    rejected: Sequence[int]
    margin: float = 0.0


class ComparisonBatch(NamedTuple):
    """Pairs in one batch: the chosen texts in the first half of the rows, the rejected in the second.

    Attributes:
        ids: Texts, padded on the right ``(2B, T)``.
        attention_mask: True for tokens, False for padding ``(2B, T)``.
        margin: Of each pair ``(B,)``.
    """

    ids: Tensor
    attention_mask: Tensor
    margin: Tensor


class Comparisons:
    """Pairs in an endless order, as `llmguide.training.train.train` takes its data.

    Args:
        pairs: Texts and margins.
        max_length: Tokens of a text that are used, the last ones: an answer that is cut off at its end was
            never judged by anybody. None: all.
        seed: Of the order.

    Raises:
        ValueError: There are no pairs, or a text is empty.

    >>> batch = Comparisons([Comparison([1, 2, 3], [1, 4])]).batch(0, 1)
    >>> batch.ids.tolist(), batch.attention_mask.sum(dim=1).tolist()
    ([[1, 2, 3], [1, 4, 0]], [3, 2])
    """

    def __init__(self, pairs: Sequence[Comparison], *, max_length: int | None = None, seed: int = 0):
        empty = [i for i, pair in enumerate(pairs) if not pair.chosen or not pair.rejected]
        if not pairs or empty:
            raise ValueError(f"of {len(pairs)} pairs, {empty} have an empty text; at least one token is read")
        self.pairs = pairs
        self.max_length = max_length
        self.seed = seed

    def __len__(self) -> int:
        """Pairs of one epoch."""
        return len(self.pairs)

    def batch(self, first: int, size: int) -> ComparisonBatch:
        """Return pairs ``first`` to ``first + size - 1`` of the endless order, as `Sequences` asks."""
        pairs = [self.pairs[i] for i in in_epochs(first, size, len(self.pairs), self.seed)]
        texts = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
        if self.max_length is not None:
            texts = [text[-self.max_length :] for text in texts]
        ids = nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
        lengths = torch.tensor([len(text) for text in texts])
        margin = torch.tensor([pair.margin for pair in pairs], dtype=torch.float32)
        return ComparisonBatch(ids, torch.arange(ids.shape[1]) < lengths[:, None], margin)


def preference_loss(
    model: RewardModel, batch: ComparisonBatch, *, centering: float = 0.0
) -> tuple[Float[Tensor, ""], int]:
    """Bradley-Terry loss of a batch of pairs, and their number: a loss for `llmguide.training.train.train`.

    Args:
        model: Scores chosen and rejected texts in one pass.
        batch: Of `Comparisons`.
        centering: As in `bradley_terry_loss`; set it with ``functools.partial``.

    Returns:
        The mean, and over how many pairs.
    """
    chosen, rejected = model(batch.ids, attention_mask=batch.attention_mask).chunk(2)
    return bradley_terry_loss(chosen, rejected, batch.margin, centering=centering), len(chosen)


class Evaluation(NamedTuple):
    """Rewards of held-out pairs.

    Attributes:
        chosen: Rewards of the preferred texts.
        rejected: Of the others.
        chosen_lengths: Tokens of the preferred texts.
        rejected_lengths: Of the others.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_lengths: Tensor
    rejected_lengths: Tensor


@torch.no_grad()
def score_pairs(model: RewardModel, data: Comparisons, *, batch_size: int = 16) -> Evaluation:
    """Score each pair once, with dropout off.

    Args:
        model: Its mode is put back.
        data: The pairs; they come back in the order of its first epoch.
        batch_size: Pairs in memory at a time.

    Returns:
        Rewards and lengths.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    parts = []
    for first in range(0, len(data), batch_size):
        batch = data.batch(first, min(batch_size, len(data) - first))
        rewards = model(batch.ids.to(device), attention_mask=batch.attention_mask.to(device)).cpu()
        parts.append((*rewards.chunk(2), *batch.attention_mask.sum(dim=1).chunk(2)))
    model.train(was_training)
    return Evaluation(*(torch.cat(column) for column in zip(*parts, strict=True)))


def accuracy(chosen: Rewards, rejected: Rewards) -> float:
    """Share of pairs in which the chosen answer has the higher reward; a tie is a miss, as in TRL.

    >>> accuracy(torch.tensor([2.0, 1.0, 0.0, 3.0]), torch.tensor([1.0, 1.0, 1.0, 1.0]))
    0.5
    """
    return (chosen > rejected).float().mean().item()


class Bin(NamedTuple):
    """Pairs that a model is about equally sure of: their number, mean confidence, and share it gets right."""

    n: int
    confidence: float
    accuracy: float


def reliability(chosen: Rewards, rejected: Rewards, *, n_bins: int = 5) -> tuple[float, list[Bin]]:
    r"""How far a model's confidence in its preferences can be believed.

    It prefers one answer with the confidence $\sigma(|r_w - r_l|)$, between 1/2 and 1. In a calibrated model,
    of the pairs with confidence 0.8, 80% are right. Optimizing a policy against an overconfident one finds
    its mistakes sooner.

    Args:
        chosen: Rewards of the preferred answers.
        rejected: Rewards of the others.
        n_bins: Bins of equal width between 1/2 and 1.

    Returns:
        Expected calibration error, and the bins that hold pairs, from unsure to sure.

    >>> chosen, rejected = torch.tensor([1.3863, 1.3863, 1.3863, 0.0]), torch.tensor([0.0, 0.0, 0.0, 1.3863])
    >>> reliability(chosen, rejected)  # sure to 4/5, right in 3/4
    (0.05, [Bin(n=4, confidence=0.8, accuracy=0.75)])
    """
    confidence, is_right = (chosen - rejected).abs().double().sigmoid(), chosen > rejected
    # twice as many bins between 0 and 1, of which the lower half is empty
    error = expected_calibration_error(confidence.tolist(), is_right.tolist(), n_bins=2 * n_bins)
    place = ((confidence * 2 * n_bins).ceil().long() - 1 - n_bins).clamp(0, n_bins - 1)
    members = [place == i for i in range(n_bins)]
    return error, [
        Bin(int(part.sum()), confidence[part].mean().item(), is_right[part].double().mean().item())
        for part in members
        if part.any()
    ]


class LengthBias(NamedTuple):
    """What of a reward model is length.

    Attributes:
        correlation: Of reward and length over all texts (Pearson); NaN if either is constant.
        longer_wins: Share of pairs whose longer text people preferred: the accuracy of counting tokens.
        accuracy_longer: Accuracy of the model where the preferred text is the longer one.
        accuracy_shorter: Where it is the shorter one; far below the other, if the model counts tokens.
    """

    correlation: float
    longer_wins: float
    accuracy_longer: float
    accuracy_shorter: float


def length_bias(pairs: Evaluation) -> LengthBias:
    """Compare a reward model with the rule that the longer answer is the better one.

    Pairs of equal length are left out of the last three numbers; each is NaN if no pair remains.

    Args:
        pairs: Of `score_pairs`.

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
        _share(is_longer, is_longer | is_shorter),
        _share(is_right, is_longer),
        _share(is_right, is_shorter),
    )


def _share(what: Bool[Tensor, " B"], among: Bool[Tensor, " B"]) -> float:
    return what[among].double().mean().item()
