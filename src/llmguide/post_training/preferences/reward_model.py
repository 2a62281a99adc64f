r"""Reward models: a scalar score of a text, learned from pairwise human preferences.

In the Bradley-Terry model the probability that completion $y_w$ is preferred to $y_l$ is a logistic function
of the difference of their rewards. The loss is its negative log-likelihood,

$$L = -\log \sigma\big(r(x, y_w) - r(x, y_l) - m\big) + c\,\big(r(x, y_w) + r(x, y_l)\big)^2$$

with a margin $m$ where the preference was strong. Only differences are learned: adding a constant to all
rewards of a prompt changes nothing, so rewards of different prompts are not comparable. The last term, where
$c > 0$, keeps their mean near 0.

The model is a decoder whose output head is replaced by a single row, applied to the hidden state of the last
token, which has attended to the whole text.

References: Bradley & Terry 1952, "Rank analysis of incomplete block designs"; Ouyang et al. 2022,
arXiv:2203.02155, section 3.5 (reward model); Touvron et al. 2023, arXiv:2307.09288, section 3.2.2 (margin);
Eisenstein et al. 2023, arXiv:2312.09244 (centering).

Leaves out: ensembles, several heads, rankings of more than two completions. Accuracy, calibration and length
bias are in `llmguide.post_training.preferences.reward_evaluation`.

Glossary: ``B`` pairs or texts, ``T`` tokens of the longest, ``D`` model width.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.arguments import checked
from llmguide.models.decoder_protocol import Decoder, require_own
from llmguide.models.inputs import AttentionMask
from llmguide.post_training.preferences.pairs import PreferenceBatch
from llmguide.post_training.rl.rollout import Rollout, left_padded

Rewards = Float[Tensor, " B"]


class RewardModel(nn.Module):
    """A decoder that scores whole texts.

    Args:
        backbone: A decoder of `llmguide.models`, usually after supervised fine-tuning; its output head is not
            used.

    >>> from llmguide import ModelConfig, RewardModel, build
    >>> config = ModelConfig(vocab_size=7, context_length=8, n_layers=1, d_model=12, n_heads=2)
    >>> model = RewardModel(build(config))
    >>> left, right = torch.tensor([[0, 0, 3, 4]]), torch.tensor([[3, 4, 0, 0]])
    >>> a = model(left, attention_mask=torch.tensor([[0, 0, 1, 1]]))
    >>> b = model(right, attention_mask=torch.tensor([[1, 1, 0, 0]]))
    >>> a.shape, torch.allclose(a, b)
    (torch.Size([1]), True)
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        require_own(backbone)
        self.backbone: Any = backbone  # torch's Module has no types for its attributes
        width = cast(Decoder, backbone).config.d_model
        self.head = nn.Linear(width, 1, bias=False)  # a bias would cancel in every difference
        nn.init.normal_(self.head.weight, std=(width + 1) ** -0.5)

    def forward(self, ids: Int[Tensor, "B T"], *, attention_mask: AttentionMask | None = None) -> Rewards:
        """Score each text at its last token.

        Args:
            ids: Token ids of prompts with completions, padded on either side.
            attention_mask: 1 for tokens and 0 for padding; None: there is no padding.

        Returns:
            One reward per text, in float32 or wider.

        Raises:
            ValueError: A text has no token.
        """
        mask = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        if not mask.any(dim=1).all():
            empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
            raise ValueError(f"texts {empty} have no token to score")
        hidden = self.backbone.hidden(ids, attention_mask=left_padded(mask))
        last = ids.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
        rewards: Tensor = self.head(hidden[torch.arange(len(ids), device=ids.device), last]).squeeze(-1)
        return rewards.to(torch.promote_types(rewards.dtype, torch.float32))

    @torch.no_grad()
    def score(self, rollouts: Rollout) -> Rewards:
        """Score the completions of a rollout after their prompts, as the reward function of PPO and GRPO."""
        rewards: Tensor = self(rollouts.ids, attention_mask=rollouts.attention_mask)
        return rewards


@checked
def bradley_terry_loss(
    chosen: Rewards, rejected: Rewards, margin: Rewards | None = None, *, centering: float = 0.0
) -> Float[Tensor, ""]:
    r"""Compute the Bradley-Terry loss, the mean of $-\log \sigma(r_w - r_l - m) + c\,(r_w + r_l)^2$.

    Args:
        chosen: Rewards of the preferred completions.
        rejected: Rewards of the other completions.
        margin: Minimum difference $m$ of rewards of each pair; None: 0.
        centering: Centering coefficient $c$, at least 0; 0.01 is usual.

    Returns:
        The scalar loss in float32 or wider; log 2 for equal rewards.

    >>> from llmguide import bradley_terry_loss
    >>> loss = bradley_terry_loss(torch.tensor([2.0]), torch.tensor([0.9014]))  # -log of 3/4
    >>> round(loss.item(), 4), round(bradley_terry_loss(torch.zeros(1), torch.zeros(1)).item(), 4)
    (0.2877, 0.6931)
    """
    chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
    difference = chosen - rejected if margin is None else chosen - rejected - margin
    loss = -F.logsigmoid(difference).mean()
    return loss + centering * (chosen + rejected).square().mean() if centering else loss


def preference_loss(
    model: RewardModel, batch: PreferenceBatch, *, centering: float = 0.0
) -> tuple[Float[Tensor, ""], int]:
    """Compute the Bradley-Terry loss of a batch of pairs, for `llmguide.training.train.train`.

    Args:
        model: Reward model; it scores chosen and rejected texts in one pass.
        batch: Batch of a `PreferenceDataset`.
        centering: Centering coefficient, as in `bradley_terry_loss`; set it with ``functools.partial``.

    Returns:
        The mean loss, and the number of pairs.
    """
    chosen, rejected = model(batch.ids, attention_mask=batch.attention_mask).chunk(2)
    return bradley_terry_loss(chosen, rejected, batch.margin, centering=centering), len(chosen)
