"""The rungs of the ladder that learn from preferences and rewards: a reward model, GRPO, DPO."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.exercises.ladder.text import embed
from llmguide.exercises.ladder.training import token_logprobs
from llmguide.exercises.ladder.transformer import EPS, block
from llmguide.exercises.ladder.tuning import PROMPTS, RESPONSES, Texts, response_logprobs
from llmguide.exercises.ladder.weights import Weights, loss_and_gradient, make_weights
from llmguide.nn.norms import rms_norm
from llmguide.post_training.preferences.dpo import dpo_loss as package_dpo_loss
from llmguide.post_training.preferences.reward_model import bradley_terry_loss
from llmguide.post_training.rl.grpo_losses import group_advantages
from llmguide.post_training.rl.policy_gradient import clipped_surrogate

# ---- the reward model --------------------------------------------------------------------------------------


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


# ---- GRPO --------------------------------------------------------------------------------------------------


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
    generator = torch.Generator().manual_seed(0)
    weights = make_weights(9, 8, 1, 8)
    prompt, completions = torch.tensor([[1, 2, 3]]), torch.randint(9, (4, 4), generator=generator)
    ids = torch.cat([prompt.expand(4, 3), completions], dim=1)
    old = token_logprobs(ids, weights, 2) + 0.4 * noise(3, 4, 6)
    return [(ids, 3, torch.tensor([1.0, 0.0, 0.5, 3.0]), old, weights, 2, 0.2)]


# ---- DPO ---------------------------------------------------------------------------------------------------


def dpo_loss(  # noqa: PLR0917 (the arguments of the answer)
    prompts: Texts,
    chosen: Texts,
    rejected: Texts,
    weights: Weights,
    reference: Weights,
    n_heads: int,
    beta: float,
    *,
    mean: bool = False,
    outside: bool = False,
    use_reference: bool = True,
    logarithm: bool = True,
) -> Tensor:
    """Compute the DPO loss, with switches for the mistakes."""
    logprobs = [
        response_logprobs(prompts, responses, model, n_heads, mean=mean)
        for model in (weights, reference)
        for responses in (chosen, rejected)
    ]
    if not use_reference:
        logprobs[2:] = [torch.zeros(len(prompts))] * 2
    if not logarithm:
        better, worse, reference_better, reference_worse = logprobs
        return -(beta * (better - reference_better - worse + reference_worse)).sigmoid().mean()
    loss: Tensor = package_dpo_loss(*logprobs, beta=1.0 if outside else beta)[0]
    return beta * loss if outside else loss


def _dpo_probes() -> list[Arguments]:
    rejected = [[1, 1, 4], [6, 7], [2]]
    policy, reference = make_weights(9, 8, 1, 8), make_weights(9, 8, 1, 8, seed=1)
    return [(PROMPTS, RESPONSES, rejected, policy, reference, 2, 0.3)]


EXERCISES = (
    Exercise(
        "reward-loss",
        "reward_loss(chosen, rejected, weights, n_heads, score) returns the loss of a reward model on "
        "pairs of texts, lists of ids of different lengths. The reward of a text is the dot product of "
        "`score` (D,) with the last hidden state of the model after the final norm. The loss is the "
        "negative log-likelihood, per pair, of the preferences under the Bradley-Terry model.",
        reward_loss,
        _reward_probes,
        (
            Mistake(
                "pair swapped",
                "the rejected text is rewarded",
                "The loss falls when the chosen text scores higher.",
                lambda chosen, rejected, *rest: reward_loss(rejected, chosen, *rest),
            ),
            Mistake(
                "mean over the tokens",
                "the hidden states of all tokens are averaged",
                "Only the last token has read the whole text.",
                partial(reward_loss, pool=lambda hidden: hidden.mean(0)),
            ),
            Mistake(
                "first token",
                "the reward is read at the first token",
                "The first token has seen nothing of the text that follows.",
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
                "the stream is multiplied by the weight of the final norm without being normalized",
                "The head of a reward model takes the place of the output head, after the final norm.",
                partial(reward_loss, norm=False),
            ),
        ),
        (
            "A reward model is a GPT up to its final norm: embed, blocks, norm.",
            "Which probability does Bradley-Terry give to the preference, from the difference of two "
            "rewards?",
            "torch.nn.functional.logsigmoid is exact where the logarithm of a sigmoid overflows.",
        ),
        needs=("embed", "block", "rms-norm"),
        level="medium",
        minutes=20,
        after="Only differences of rewards are learned, so the zero of a reward model is arbitrary. That "
        "is why methods of reinforcement learning subtract a baseline.",
        observe=loss_and_gradient,
    ),
    Exercise(
        "grpo-loss",
        "grpo_loss(ids, n_prompt, rewards, old_logprobs, weights, n_heads, clip) returns the loss of GRPO "
        "for a group of completions of one prompt. The rows of `ids` (G, T) begin with the same n_prompt "
        "tokens and are equally long; `rewards` is (G,). `old_logprobs` (G, T - 1) are the "
        "log-probabilities, at the time of sampling, of all tokens but the first. Advantages are the "
        "rewards standardized in the group, with 1e-4 added to the sample standard deviation; the "
        "objective is that of PPO with its clipping range `clip`, averaged over the tokens of the "
        "completions. There is no KL penalty.",
        grpo_loss,
        _grpo_probes,
        (
            Mistake(
                "advantage not scaled",
                "the rewards are centered, but not divided by their standard deviation (this is Dr. GRPO)",
                "Standardized values have mean 0 and standard deviation 1.",
                partial(grpo_loss, scaled=False),
            ),
            Mistake(
                "rewards as advantages",
                "the rewards themselves are the advantages",
                "A completion is compared with the others of its group.",
                partial(grpo_loss, compared=False),
            ),
            Mistake(
                "prompt counted",
                "the tokens of the prompt are in the mean",
                "The policy did not choose the prompt.",
                lambda ids, n_prompt, *rest: grpo_loss(ids, 1, *rest),
            ),
            Mistake(
                "first token of the completion left out",
                "the mean starts one token too late",
                "Entry t of the log-probabilities belongs to token t + 1.",
                partial(grpo_loss, first=0),
            ),
            Mistake(
                "always clipped",
                "only the clipped ratio is used",
                "PPO takes the smaller of two gains, with and without clipping: it must not hide a change "
                "for the worse.",
                partial(grpo_loss, clipped_only=True),
            ),
            Mistake(
                "never clipped",
                "the ratio is not clipped",
                "A large step away from the policy that sampled must not pay.",
                lambda ids, n_prompt, rewards, old, weights, n_heads, clip: grpo_loss(
                    ids, n_prompt, rewards, old, weights, n_heads, 1e6
                ),
            ),
            Mistake(
                "sign",
                "the gain is minimized",
                "A loss falls when rewarded completions become more likely.",
                lambda *arguments: -grpo_loss(*arguments),
            ),
        ),
        (
            "Three parts: advantages for the rows, ratios for the tokens, a mean over some of the tokens.",
            "The ratio of probabilities comes from a difference of logarithms.",
            "Of the gain with the ratio and the gain with the clipped ratio, take the smaller.",
        ),
        needs=("token-logprobs",),
        level="hard",
        minutes=25,
        after="One optimizer step on this loss is a step of GRPO. PPO has the same objective; its "
        "advantages come from a value model, so it needs no group.",
        observe=loss_and_gradient,
    ),
    Exercise(
        "dpo-loss",
        "dpo_loss(prompts, chosen, rejected, weights, reference, n_heads, beta) returns the DPO loss on a "
        "batch of preferences, averaged over the pairs. `weights` is the policy, `reference` the model "
        "that it started from. Prompts and responses are lists of ids.",
        dpo_loss,
        _dpo_probes,
        (
            Mistake(
                "reference forgotten",
                "the log-probabilities of the policy are compared without those of the reference",
                "The implicit reward is how much more likely the policy makes a response than the "
                "reference does.",
                partial(dpo_loss, use_reference=False),
            ),
            Mistake(
                "pair swapped",
                "the rejected response is preferred",
                "The loss falls when the chosen response gains on the reference.",
                lambda prompts, chosen, rejected, *rest: dpo_loss(prompts, rejected, chosen, *rest),
            ),
            Mistake(
                "beta outside",
                "beta multiplies the loss instead of the difference",
                "beta is part of the reward, inside the sigmoid.",
                partial(dpo_loss, outside=True),
            ),
            Mistake(
                "mean over the tokens",
                "log-probabilities are averaged over the tokens of a response",
                "DPO compares whole responses. Averages belong to SimPO.",
                partial(dpo_loss, mean=True),
            ),
            Mistake(
                "logarithm forgotten",
                "the sigmoid is not passed through a logarithm",
                "It is the log-likelihood of a preference that is maximized.",
                partial(dpo_loss, logarithm=False),
            ),
        ),
        (
            "DPO is the reward loss with an implicit reward. What does it reward?",
            "You have the log-probabilities of responses; you need them four times.",
            "The reference gets no gradient.",
        ),
        needs=("response-logprobs",),
        level="medium",
        minutes=15,
        after="No reward model and no sampling: preferences are turned into one supervised loss. The price "
        "is that it learns only from responses that somebody else has written.",
        observe=loss_and_gradient,
    ),
)
