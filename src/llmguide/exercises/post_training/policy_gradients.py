"""Exercises of policy gradients: the rewards of tokens, and PPO's clipped loss."""

from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.differentiation import cut_off, with_gradient
from llmguide.post_training.rl.policy_gradient import clipped_surrogate
from llmguide.post_training.rl.ppo_losses import penalized_rewards


def _surrogate(logp: Tensor, old_logp: Tensor, advantages: Tensor, clip: float) -> Tensor:
    return clipped_surrogate(logp, old_logp, advantages, clip_eps=clip)


def _surrogate_probes() -> list[Arguments]:
    logp = torch.tensor([2.0, 0.5, 2.0, 0.5, 1.1]).log()
    new, old = torch.tensor([[0.5, 0.1, 0.8, 0.3, 0.28], [0.1, 0.5, 0.2, 0.4, 0.3]]).log()
    return [
        (logp, torch.zeros(5), torch.tensor([1.0, 1.0, -1.0, -1.0, 2.0]), 0.2),
        (new, old, torch.tensor([-1.0, 0.5, 2.0, -1.5, 1.0]), 0.1),  # ratios 5, 0.2, 4, 0.75 and 0.93
    ]


def rlhf_rewards(  # noqa: PLR0917 (the arguments of the answer)
    scores: Tensor,
    logp: Tensor,
    ref_logp: Tensor,
    mask: Tensor,
    ended: Tensor,
    kl_coef: float,
    penalty: float,
    *,
    sign: int = 1,
    place: str = "last",
) -> Tensor:
    """Compute the rewards of tokens in RLHF, with switches for the mistakes."""
    kl = sign * (logp - ref_logp)
    rewards = penalized_rewards(scores, kl, mask, kl_coef=kl_coef, ended=ended, missing_eos_penalty=penalty)
    if place == "last":
        return rewards
    scored = (scores - penalty * ~ended)[:, None]
    charged = -kl_coef * kl.where(mask, 0.0)
    if place == "every":
        return charged + scored * mask
    return torch.cat([charged[:, :-1], charged[:, -1:] + scored], dim=1)


def _reward_probes() -> list[Arguments]:
    mask = torch.tensor([[True] * 4 + [False], [True] * 5, [True] * 2 + [False] * 3])
    scores, ended = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([True, False, True])
    return [(scores, noise(35, 3, 5) - 2, noise(36, 3, 5) - 2, mask, ended, 0.1, 1.5)]


EXERCISES = (
    Exercise(
        "rlhf-rewards",
        "rlhf_rewards(scores, logp, ref_logp, mask, ended, kl_coef, penalty) returns the rewards (B, T) of "
        "the tokens of B completions, as PPO uses them in RLHF. `scores` (B,) are the rewards of the reward "
        "model for whole completions. `logp` and `ref_logp` (B, T) are the log-probabilities of the tokens "
        "under the policy that sampled them and under the reference model. `mask` (B, T) is True for the "
        "tokens of a completion, which start at the left; what follows is padding. Each token is charged "
        "kl_coef times the estimate of the KL divergence that is the log-ratio of its two probabilities. The "
        "last token of a completion also gets the score. `ended` (B,) is False for completions that were cut "
        "off at the token limit; their score is lowered by `penalty`. Padding has reward 0.",
        rlhf_rewards,
        _reward_probes,
        (
            Mistake(
                "score on the padding",
                "the score goes to the last column",
                "The last token of a short completion is followed by padding. Find it with the mask.",
                partial(rlhf_rewards, place="column"),
            ),
            Mistake(
                "score on every token",
                "every token of a completion gets the score",
                "The reward model rates the whole completion once. GAE passes the score on to earlier "
                "tokens.",
                partial(rlhf_rewards, place="every"),
            ),
            Mistake(
                "KL sign",
                "tokens earn reward for being more likely under the policy than under the reference model",
                "The log-ratio is log policy minus log reference, and it is subtracted from the reward.",
                partial(rlhf_rewards, sign=-1),
            ),
            Mistake(
                "padding charged",
                "the KL penalty is charged for padding, too",
                "Multiply by the mask.",
                lambda scores, logp, ref_logp, mask, ended, kl_coef, penalty: (
                    rlhf_rewards(scores, logp, ref_logp, mask, ended, kl_coef, penalty)
                    - kl_coef * (logp - ref_logp) * ~mask
                ),
            ),
            Mistake(
                "penalty for those that ended",
                "the completions that ended by themselves are penalized",
                "`ended` is False where the token limit cut a completion off.",
                lambda scores, logp, ref_logp, mask, ended, *rest: rlhf_rewards(
                    scores, logp, ref_logp, mask, ~ended, *rest
                ),
            ),
            Mistake(
                "penalty forgotten",
                "completions that were cut off keep their score",
                "Subtract the penalty from their score.",
                lambda scores, logp, ref_logp, mask, ended, kl_coef, penalty: rlhf_rewards(
                    scores, logp, ref_logp, mask, ended, kl_coef, 0.0
                ),
            ),
        ),
        (
            "Compute the KL part for all tokens at once, and take care of the last tokens afterwards.",
            "How many tokens does a completion have, and what is the index of its last one?",
            "The last index is mask.sum(dim=1) - 1. Add the scores there: rewards[torch.arange(B), last] += "
            "scores. Keep what you are given unchanged.",
        ),
        level="medium",
        minutes=15,
        after="The penalty on completions that were cut off matters early in training: without it a policy "
        "can collect good scores for texts that never end.",
    ),
    Exercise(
        "ppo-clip",
        "surrogate(logp, old_logp, advantages, clip): PPO's clipped loss of each token, not averaged, from "
        "its log-probabilities under the current policy and under the one that sampled it. Ratios are "
        "clipped to [1 - clip, 1 + clip].",
        _surrogate,
        _surrogate_probes,
        (
            Mistake(
                "larger instead of smaller",
                "the larger of the two is taken",
                "The minimum is a lower bound: an improvement beyond the clip range does not count, a "
                "change for the worse does.",
                lambda logp, old, advantages, clip: (
                    -torch.maximum(
                        (logp - old).exp() * advantages,
                        (logp - old).exp().clamp(1 - clip, 1 + clip) * advantages,
                    )
                ),
            ),
            Mistake(
                "only the clipped term",
                "the ratio is always clipped",
                "Where the ratio has gone the wrong way, the gradient has to bring it back. Take the "
                "minimum of both.",
                lambda logp, old, advantages, clip: (
                    -(logp - old).exp().clamp(1 - clip, 1 + clip) * advantages
                ),
            ),
            Mistake(
                "not clipped",
                "the ratio is not clipped",
                "Several steps on the same completions could then move the policy far away.",
                lambda logp, old, advantages, clip: -(logp - old).exp() * advantages,
            ),
            Mistake(
                "ratio upside down",
                "the ratio is old over new",
                "The ratio is exp(logp - old_logp).",
                lambda logp, old, advantages, clip: _surrogate(old, logp, advantages, clip),
            ),
            Mistake(
                "sign of the loss",
                "the objective is returned, which an optimizer would minimize",
                "A loss is minimized: put a minus in front.",
                lambda logp, old, advantages, clip: -_surrogate(logp, old, advantages, clip),
            ),
            Mistake(
                "exp forgotten",
                "the difference of the log-probabilities is taken for the ratio",
                "The ratio is exp(logp - old_logp): 1 where nothing has changed.",
                lambda logp, old, advantages, clip: (
                    -torch.minimum(
                        (logp - old) * advantages, (logp - old).clamp(1 - clip, 1 + clip) * advantages
                    )
                ),
            ),
            Mistake(
                "smaller ratio",
                "the smaller of the two ratios is multiplied by the advantage",
                "With a negative advantage, the smaller product has the larger ratio: multiply first.",
                lambda logp, old, advantages, clip: (
                    -(logp - old).exp().clamp(max=1 + clip).minimum((logp - old).exp().clamp(min=1 - clip))
                    * advantages
                ),
            ),
            Mistake(
                "clipped from above only",
                "the ratio has no lower limit",
                "With a negative advantage, a ratio below 1 - clip gains nothing more either.",
                lambda logp, old, advantages, clip: (
                    -torch.minimum(
                        (logp - old).exp() * advantages, (logp - old).exp().clamp(max=1 + clip) * advantages
                    )
                ),
            ),
            cut_off(_surrogate),
        ),
        (
            "Four cases: ratio too high or too low, advantage positive or negative. In which of them should "
            "the gradient vanish?",
            "Compute two objectives: ratio times advantage, and clipped ratio times advantage.",
            "Take the smaller of the two, and change its sign, because it is a loss.",
        ),
        level="medium",
        minutes=10,
        observe=with_gradient(_surrogate, 0),
    ),
)
