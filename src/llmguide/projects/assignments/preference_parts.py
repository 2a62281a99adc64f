"""Parts of the assignments on reward models and RLHF."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.post_training.rl.ppo_losses import penalized_rewards, ppo_value_loss


def _reward(hidden: Tensor, mask: Tensor, w: Tensor) -> Tensor:
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    return hidden[torch.arange(len(hidden)), last] @ w


def _reward_probes() -> list[Arguments]:
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0]]).bool()
    return [(noise(1, 3, 5, 4), mask, noise(2, 4))]


def _accuracy(chosen: Sequence[float], rejected: Sequence[float], tie: float = 0.5) -> float:
    points = [tie if a == b else float(a > b) for a, b in zip(chosen, rejected, strict=True)]
    return sum(points) / len(points)


def _token_rewards(score: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    return penalized_rewards(score, logp - ref_logp, mask, kl_coef=kl_coef)


def _token_rewards_probes() -> list[Arguments]:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    return [(torch.tensor([2.0, -1.0]), noise(3, 2, 4) - 2, noise(4, 2, 4) - 2, mask, 0.3)]


def _value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    return ppo_value_loss(values, old_values, returns, torch.ones_like(values).bool(), clip_eps=clip)


def _value_loss_by(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    clip: float,
    *,
    combine: Callable[[Tensor, Tensor], Tensor] = torch.maximum,
    half: bool = True,
) -> Tensor:
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    loss = combine((values - returns).square(), (clipped - returns).square()).mean()
    return loss / 2 if half else loss


PREFERENCE_PARTS = (
    Exercise(
        "last-token-reward",
        "last_token_reward(hidden, mask, w) returns the rewards (B,) of a batch of texts. The reward of a "
        "text is the dot product of the hidden state of its last token with the reward head w (D,). `hidden` "
        "is (B, T, D). `mask` (B, T) is True for tokens and False for padding, which can be on the left, on "
        "the right or on both sides.",
        _reward,
        _reward_probes,
        (
            Mistake(
                "last position instead of last token",
                "the reward is read at the last position, which may be padding",
                "Find the last True of each row of the mask.",
                lambda hidden, mask, w: hidden[:, -1] @ w,
            ),
            Mistake(
                "number of tokens for position",
                "the position of the last token is taken to be the number of tokens minus 1, which is wrong "
                "if there is padding on the left",
                "Search from the right: mask.flip(1).int().argmax(1) is the distance from the end.",
                lambda hidden, mask, w: hidden[torch.arange(len(hidden)), mask.sum(1) - 1] @ w,
            ),
            Mistake(
                "mean of the tokens",
                "the dot products of all tokens are averaged",
                "Only the last token has attended to the whole text.",
                lambda hidden, mask, w: (hidden @ w * mask).sum(1) / mask.sum(1),
            ),
            Mistake(
                "first token",
                "the reward is read at the first position",
                "With causal attention, the hidden state of the first token depends on no other token.",
                lambda hidden, mask, w: hidden[:, 0] @ w,
            ),
        ),
        ("hidden[torch.arange(B), last] selects one position in each row.",),
    ),
    Exercise(
        "pair-accuracy",
        "pair_accuracy(chosen, rejected) returns the fraction of pairs in which the chosen text has the "
        "higher reward; a tie counts as one half. chosen[i] and rejected[i] are the rewards of the two texts "
        "of pair i, as floats.",
        _accuracy,
        lambda: [
            ([1.0, 2.0, 0.0, 3.0, 5.0], [0.0, 2.0, 1.0, 1.0, 1.0]),
            ([2.0, -1.0, 0.5], [1.0, -2.0, 0.5]),
        ],
        (
            Mistake(
                "ties count as right",
                "a tie counts as right",
                "A model that gives every text the same reward would have 100% accuracy.",
                partial(_accuracy, tie=1.0),
            ),
            Mistake(
                "ties count as wrong",
                "a tie counts as wrong",
                "A model that guesses is right half the time, so a tie counts as one half.",
                partial(_accuracy, tie=0.0),
            ),
            Mistake(
                "pair swapped",
                "pairs in which the rejected text has the higher reward are counted",
                "A pair is right if chosen > rejected.",
                lambda chosen, rejected: _accuracy(rejected, chosen),
            ),
            Mistake(
                "all chosen with all rejected texts",
                "every chosen text is compared with every rejected one",
                "People compared chosen[i] with rejected[i] only.",
                lambda chosen, rejected: _accuracy(
                    [a for a in chosen for _ in rejected], [b for _ in chosen for b in rejected]
                ),
            ),
            Mistake(
                "sign of the chosen reward",
                "a pair is right if the chosen reward is above zero",
                "Only differences of rewards have a meaning: compare the two rewards of the pair.",
                lambda chosen, rejected: _accuracy(chosen, [0.0] * len(rejected)),
            ),
        ),
        ("Average over the pairs: 1 if the chosen reward is higher, 0.5 for a tie, else 0.",),
    ),
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
                lambda score, logp, ref, mask, kl: torch.cat(
                    [
                        (-kl * (logp - ref) * mask)[:, :-1],
                        ((-kl * (logp - ref) * mask)[:, -1] + score)[:, None],
                    ],
                    dim=1,
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
        lambda: [(noise(1, 2, 5), noise(2, 2, 5), noise(3, 2, 5), 0.2)],
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
                "the values are not clipped",
                "The clipped value is old_values + (values - old_values).clamp(-clip, clip).",
                partial(_value_loss_by, combine=lambda plain, _: plain),
            ),
            Mistake(
                "half forgotten",
                "the mean is not divided by 2",
                "The loss is half the mean squared error, as in common implementations of PPO.",
                partial(_value_loss_by, half=False),
            ),
        ),
        ("Take torch.maximum of the two squared errors, then mean() / 2.",),
    ),
)
