"""The exercises of the ladder that train with rewards: the loss of a reward model, and GRPO."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, generator, noise
from llmguide.exercises.ladder.text import embed
from llmguide.exercises.ladder.training import token_logprobs
from llmguide.exercises.ladder.transformer import EPS, block
from llmguide.exercises.ladder.tuning import Texts
from llmguide.exercises.ladder.weights import Weights, loss_and_gradient, make_weights
from llmguide.nn.norms import rms_norm
from llmguide.post_training.preferences.reward_model import bradley_terry_loss
from llmguide.post_training.rl.grpo_losses import group_advantages
from llmguide.post_training.rl.policy_gradient import clipped_surrogate


def _last(hidden: Tensor) -> Tensor:
    return hidden[-1]


def reward_loss(
    chosen: Texts,
    rejected: Texts,
    weights: Weights,
    n_heads: int,
    score: Tensor,
    *,
    pool: Callable[[Tensor], Tensor] = _last,
    norm: bool = True,
    pad: int = 0,
) -> Tensor:
    """Compute the Bradley-Terry loss of a reward model, with switches for the mistakes."""

    def rewards(texts: Texts) -> Tensor:
        found = []
        for text in texts:
            x = embed(torch.tensor([text + [0] * (max(pad, len(text)) - len(text))]), weights)
            for layer in weights["layers"]:
                x = block(x, layer, n_heads)
            hidden = rms_norm(x, weights["norm"], EPS) if norm else x * weights["norm"]
            found.append(pool(hidden[0]) @ score)
        return torch.stack(found)

    return bradley_terry_loss(rewards(chosen), rewards(rejected))


def _reward_probes() -> list[Arguments]:
    chosen, rejected = [[1, 2, 3, 4], [5, 6]], [[1, 2, 7], [5, 8, 8, 2, 1]]
    return [(chosen, rejected, make_weights(9, 8, 2, 8), 2, noise(0, 8))]


def grpo_loss(  # noqa: PLR0917 (the arguments of the answer)
    ids: Tensor,
    n_prompt: int,
    rewards: Tensor,
    old_logprobs: Tensor,
    weights: Weights,
    n_heads: int,
    clip: float,
    *,
    scaled: bool = True,
    compared: bool = True,
    first: int = -1,
    clipped_only: bool = False,
) -> Tensor:
    """Compute the loss of GRPO for one group, with switches for the mistakes."""
    advantages = (group_advantages(rewards, len(rewards), scale=scaled) if compared else rewards)[:, None]
    logprobs = token_logprobs(ids, weights, n_heads)
    losses = clipped_surrogate(logprobs, old_logprobs, advantages.expand_as(logprobs), clip_eps=clip)
    if clipped_only:
        losses = -(logprobs - old_logprobs).exp().clamp(1 - clip, 1 + clip) * advantages
    return losses[:, n_prompt + first :].mean()


def _grpo_probes() -> list[Arguments]:
    weights = make_weights(9, 8, 1, 8)
    prompt, completions = torch.tensor([[1, 2, 3]]), torch.randint(9, (4, 4), generator=generator(0))
    ids = torch.cat([prompt.expand(4, 3), completions], dim=1)
    old = token_logprobs(ids, weights, 2) + 0.4 * noise(3, 4, 6)
    return [(ids, 3, torch.tensor([1.0, 0.0, 0.5, 3.0]), old, weights, 2, 0.2)]


EXERCISES = (
    Exercise(
        "reward-loss",
        "reward_loss(chosen, rejected, weights, n_heads, score) returns the loss of a reward model on pairs "
        "of texts, as a scalar tensor. `chosen` and `rejected` are lists of texts; text i of the one and "
        "text i of the other are a pair. A text is a list of ids, and the texts have different lengths. The "
        "reward of a text is the dot product of `score` (D,) with the hidden state of its last token after "
        "the final norm. The loss is the negative log-likelihood of the preferences under the Bradley-Terry "
        "model, averaged over the pairs.",
        reward_loss,
        _reward_probes,
        (
            Mistake(
                "pair swapped",
                "chosen and rejected texts are swapped",
                "The loss must fall when the reward of the chosen text rises.",
                lambda chosen, rejected, *rest: reward_loss(rejected, chosen, *rest),
            ),
            Mistake(
                "mean over the tokens",
                "the hidden states of all tokens are averaged",
                "Only the last token has attended to the whole text.",
                partial(reward_loss, pool=lambda hidden: hidden.mean(0)),
            ),
            Mistake(
                "first token",
                "the reward is read at the first token",
                "With causal attention, the first token cannot attend to the text that follows.",
                partial(reward_loss, pool=lambda hidden: hidden[0]),
            ),
            Mistake(
                "reward of the padding",
                "the texts are padded with id 0 and the reward is read at the end of the padding",
                "Read the reward at the last token of the text itself.",
                partial(reward_loss, pad=5),
            ),
            Mistake(
                "final norm forgotten",
                "the residual stream is multiplied by the weight of the final norm, but is not normalized",
                "The reward head replaces the output head, so it comes after the final norm.",
                partial(reward_loss, norm=False),
            ),
        ),
        (
            "Up to the final norm, a reward model is a GPT: embedding, blocks, norm.",
            "What probability does the Bradley-Terry model give to a preference, as a function of the "
            "difference of the two rewards?",
            "torch.nn.functional.logsigmoid is accurate even where a sigmoid underflows to 0 and its "
            "logarithm is minus infinity.",
        ),
        needs=("embed", "block", "rms-norm"),
        level="medium",
        minutes=20,
        after="The loss depends only on differences of rewards, so the zero point of a reward model is "
        "arbitrary. A baseline that is subtracted from the rewards, as in GRPO, removes this constant.",
        observe=loss_and_gradient,
    ),
    Exercise(
        "grpo-loss",
        "grpo_loss(ids, n_prompt, rewards, old_logprobs, weights, n_heads, clip) returns the loss of GRPO "
        "for a group of G completions of one prompt, as a scalar tensor. Each row of `ids` (G, T) is the "
        "prompt of n_prompt tokens followed by a completion, and all completions have the same length. "
        "`rewards` is (G,). `old_logprobs` (G, T - 1) has the log-probabilities of all tokens of a row "
        "except the first, under the policy that sampled the completions. The advantage of a completion is "
        "its reward minus the mean of the group, divided by the sample standard deviation (divisor G - 1) "
        "plus 1e-4. The loss is minus the clipped objective of PPO, with ratios clipped to [1 - clip, 1 + "
        "clip], averaged over all tokens of the completions. There is no KL penalty.",
        grpo_loss,
        _grpo_probes,
        (
            Mistake(
                "advantage not scaled",
                "the rewards are centered, but not divided by their standard deviation (this is Dr. GRPO)",
                "Divide the centered rewards by their standard deviation plus 1e-4.",
                partial(grpo_loss, scaled=False),
            ),
            Mistake(
                "rewards as advantages",
                "the rewards themselves are used as advantages",
                "The advantage compares a completion with the others of its group.",
                partial(grpo_loss, compared=False),
            ),
            Mistake(
                "prompt counted",
                "the tokens of the prompt are in the mean",
                "Average over the tokens of the completions only, because the policy did not generate the "
                "prompt.",
                lambda ids, n_prompt, *rest: grpo_loss(ids, 1, *rest),
            ),
            Mistake(
                "first token of the completion left out",
                "the mean starts one token too late",
                "Entry t of the log-probabilities belongs to the token at position t + 1.",
                partial(grpo_loss, first=0),
            ),
            Mistake(
                "always clipped",
                "only the clipped ratio is used",
                "PPO takes the smaller of the objectives with the ratio and with the clipped ratio, so "
                "clipping never hides a change for the worse.",
                partial(grpo_loss, clipped_only=True),
            ),
            Mistake(
                "never clipped",
                "the ratio is not clipped",
                "Clipping removes the incentive to move far away from the policy that sampled.",
                lambda ids, n_prompt, rewards, old, weights, n_heads, clip: grpo_loss(
                    ids, n_prompt, rewards, old, weights, n_heads, 1e6
                ),
            ),
            Mistake(
                "sign",
                "the sign of the loss is reversed",
                "The loss must fall when completions with a positive advantage become more likely.",
                lambda *arguments: -grpo_loss(*arguments),
            ),
        ),
        (
            "There are three parts: an advantage for each row, a ratio for each token, and a mean over the "
            "tokens of the completions.",
            "The ratio of two probabilities is the exponential of the difference of their logarithms.",
            "For each token, take the smaller of ratio times advantage and clipped ratio times advantage.",
        ),
        needs=("token-logprobs",),
        level="hard",
        minutes=25,
        after="GRPO takes optimizer steps on this loss. PPO has the same clipped objective, but computes its "
        "advantages with a value model, so it needs no group of completions.",
        observe=loss_and_gradient,
    ),
)
