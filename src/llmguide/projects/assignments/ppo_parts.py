"""Parts of the assignment on RLHF: the rewards of tokens, and the loss of the value model."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.differentiation import cut_off, with_gradient
from llmguide.post_training.rl.ppo_losses import penalized_rewards, ppo_value_loss


def _token_rewards(score: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    return penalized_rewards(score, logp - ref_logp, mask, kl_coef=kl_coef)


def _token_rewards_probes() -> list[Arguments]:
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    return [(torch.tensor([8.0, -1.0]), noise(3, 2, 5) - 2, noise(4, 2, 5) - 2, mask, 0.3)]


def _scored(
    score: Tensor,
    logp: Tensor,
    ref_logp: Tensor,
    mask: Tensor,
    kl_coef: float,
    *,
    place: Callable[[Tensor], Tensor] = lambda n_tokens: n_tokens - 1,
    summed: bool = False,
    replaced: bool = False,
) -> Tensor:
    """Compute the rewards of tokens, with switches for the mistakes; `place` says where the score goes."""
    penalties = -kl_coef * (logp - ref_logp) * mask
    position = place(mask.sum(dim=1)).clamp(0, mask.shape[1] - 1)[:, None]
    if summed:
        return torch.zeros_like(logp).scatter(
            1, position, penalties.sum(dim=1, keepdim=True) + score[:, None]
        )
    if replaced:
        return penalties.scatter(1, position, score[:, None])
    return penalties.scatter_add(1, position, score[:, None])


def _value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    return ppo_value_loss(values, old_values, returns, torch.ones_like(values).bool(), clip_eps=clip)


def _value_loss_by(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    clip: float,
    *,
    combine: Callable[[Tensor, Tensor], Tensor] = torch.maximum,
    scale: float = 0.5,
    relative: bool = False,
) -> Tensor:
    limit = clip * old_values if relative else torch.full_like(values, clip)
    clipped = values.maximum(old_values - limit).minimum(old_values + limit)
    return scale * combine((values - returns).square(), (clipped - returns).square()).mean()


def _value_loss_probes() -> list[Arguments]:
    values, old_values, returns = torch.tensor(
        [[[1.0, 0.0, 2.0, -1.0]], [[0.0, 0.2, 1.0, 1.0]], [[1.0, 1.0, 0.0, -1.0]]]
    )  # the mean error of the clipped values is larger, but not each of them
    return [(noise(1, 2, 5), noise(2, 2, 5), noise(3, 2, 5), 0.2), (values, old_values, returns, 0.5)]


PPO_PARTS = (
    Exercise(
        "token-rewards",
        "token_rewards(score, logp, ref_logp, mask, kl_coef) returns the reward (B, T) of each generated "
        "token in PPO. The reward is -kl_coef * (logp - ref_logp), and the last token of each completion "
        "also receives the reward model's score. `score` is (B,). `logp` and `ref_logp` (B, T) are the "
        "log-probabilities of the tokens under the policy and under the reference model. `mask` (B, T) is "
        "True for the tokens of the completion, which begins at position 0; all other positions get 0.",
        _token_rewards,
        _token_rewards_probes,
        (
            Mistake(
                "KL sign",
                "divergence from the reference model is rewarded",
                "The penalty is subtracted: a token that is more likely under the policy than under the "
                "reference model gets a negative reward.",
                lambda score, logp, ref, mask, kl: _token_rewards(score, ref, logp, mask, kl),
            ),
            Mistake(
                "score on every token",
                "every token gets the score",
                "The score is for the whole completion. Add it once, at the last token.",
                lambda score, logp, ref, mask, kl: (score[:, None] - kl * (logp - ref)) * mask,
            ),
            Mistake(
                "score on padding",
                "the score is added at the last position, which may be padding",
                "Add the score to the last token that is True in the mask.",
                lambda score, logp, ref, mask, kl: _scored(
                    score, logp, ref, mask, kl, place=lambda n_tokens: n_tokens + mask.shape[1]
                ),
            ),
            Mistake(
                "score on the first token",
                "the score is added at the first token",
                "The score comes when the completion is over. GAE passes it on to earlier tokens.",
                partial(_scored, place=lambda n_tokens: 0 * n_tokens),
            ),
            Mistake(
                "score one position early",
                "the score is added one position before the last token",
                "The position of the last token is the number of tokens minus 1.",
                partial(_scored, place=lambda n_tokens: n_tokens - 2),
            ),
            Mistake(
                "score one position late",
                "the score is added one position after the last token, where there is one",
                "The position of the last token is the number of tokens minus 1.",
                partial(_scored, place=lambda n_tokens: n_tokens),
            ),
            Mistake(
                "score instead of penalty",
                "the last token gets the score without its KL penalty",
                "Add the score to the penalty of the last token.",
                partial(_scored, replaced=True),
            ),
            Mistake(
                "penalties at the end",
                "the last token is charged the penalties of all tokens",
                "Each token is charged its own penalty, so that its advantage depends on it.",
                partial(_scored, summed=True),
            ),
            Mistake(
                "padding charged",
                "the KL penalty is charged for padding, too",
                "Positions that are False in the mask get 0.",
                lambda score, logp, ref, mask, kl: (
                    _token_rewards(score, logp, ref, mask, kl) - kl * (logp - ref) * ~mask
                ),
            ),
            Mistake(
                "penalty forgotten",
                "there is no KL penalty",
                "Without the penalty, the policy can drift far from the reference model and exploit errors "
                "of the reward model.",
                lambda score, logp, ref, mask, kl: _token_rewards(score, logp, ref, mask, 0.0),
            ),
        ),
        ("Compute the penalties first. Then add the score with scatter_add or by indexing.",),
    ),
    Exercise(
        "value-loss",
        "value_loss(values, old_values, returns, clip) returns PPO's clipped loss of the value model, a "
        "scalar. For each token, take the squared error of the value and the squared error of the value "
        "clipped to the range from old_values - clip to old_values + clip, both with respect to the return. "
        "The loss is half the mean over all tokens of the larger of the two. The tensors are (B, T), without "
        "padding.",
        _value_loss,
        _value_loss_probes,
        (
            Mistake(
                "smaller instead of larger",
                "the smaller of the two errors is taken",
                "The loss is pessimistic: take the maximum.",
                partial(_value_loss_by, combine=torch.minimum),
            ),
            Mistake(
                "only the clipped error",
                "the error of the unclipped value is ignored",
                "With the clipped value alone, the gradient is 0 outside the clip range, even where the "
                "value is far from the return.",
                partial(_value_loss_by, combine=lambda _, clipped: clipped),
            ),
            Mistake(
                "not clipped",
                "the values are not clipped, or around the returns, which has no effect",
                "The clipped value is old_values + (values - old_values).clamp(-clip, clip).",
                partial(_value_loss_by, combine=lambda plain, _: plain),
            ),
            Mistake(
                "half forgotten",
                "the mean is not divided by 2",
                "The loss is half the mean squared error, as in common implementations of PPO.",
                partial(_value_loss_by, scale=1.0),
            ),
            Mistake(
                "larger of the means",
                "the two errors are averaged over the tokens before the larger is taken",
                "Take the larger error of each token first.",
                partial(
                    _value_loss_by, combine=lambda plain, clipped: torch.maximum(plain.mean(), clipped.mean())
                ),
            ),
            Mistake(
                "sum instead of mean",
                "the errors are summed over the tokens",
                "Divide by the number of tokens.",
                lambda values, old_values, returns, clip: (
                    _value_loss(values, old_values, returns, clip) * values.numel()
                ),
            ),
            Mistake(
                "clipped as a ratio",
                "the clip range is from old_values * (1 - clip) to old_values * (1 + clip)",
                "Values are not probabilities: their distance from the old ones is clipped, not their ratio.",
                partial(_value_loss_by, relative=True),
            ),
            cut_off(_value_loss),
        ),
        ("Take torch.maximum of the two squared errors, then mean() / 2.",),
        observe=with_gradient(_value_loss, 0),
    ),
)
