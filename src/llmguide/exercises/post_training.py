"""Exercises of the post-training chapter: targets, masks, rewards, policy gradients."""

from functools import partial
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.post_training.preferences.dpo import sequence_logprob
from llmguide.post_training.preferences.reward_model import bradley_terry_loss
from llmguide.post_training.rl.grpo_losses import group_advantages
from llmguide.post_training.rl.policy_gradient import clipped_surrogate, kl_estimate
from llmguide.post_training.rl.ppo_losses import gae
from llmguide.post_training.sft import completion, shifted

# ---- supervised fine-tuning ------------------------------------------------------------------------


def _targets(prompt: list[int], answer: list[int]) -> list[int]:
    targets: list[int] = shifted(completion(prompt, answer))[1].tolist()
    return targets


def _hidden_prompt(prompt: list[int], answer: list[int], hidden: int) -> list[int]:
    """Return shifted targets, of which the first ``hidden`` are masked."""
    targets = [*prompt, *answer][1:]
    return [IGNORE_INDEX] * hidden + targets[hidden:]


START, END, ROLES = 1, 2, {"user": 3, "assistant": 4}


def _turns(
    messages: list[tuple[str, list[int]]],
    *,
    learned: str = "assistant",
    header: bool = False,
    end: bool = True,
    last_only: bool = False,
) -> tuple[list[int], list[bool]]:
    """Return the token ids of a conversation and its loss mask."""
    ids: list[int] = []
    mask: list[bool] = []
    for i, (role, content) in enumerate(messages):
        counts = role == learned and (not last_only or i == len(messages) - 1)
        ids += [START, ROLES[role], *content, END]
        mask += [counts and header] * 2 + [counts] * len(content) + [counts and end]
    return ids, mask


# ---- log-probabilities and divergences -------------------------------------------------------------


def _logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]


def _logprob_probes() -> list[Arguments]:
    labels = torch.tensor([[1, 3, IGNORE_INDEX, 2], [IGNORE_INDEX, IGNORE_INDEX, 0, 4]])
    return [(noise(0, 2, 4, 5), labels), (2 * noise(1, 1, 3, 4), torch.tensor([[3, 0, 1]]))]


def _kl(logits: Tensor, ref_logits: Tensor) -> Tensor:
    p, q = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


# ---- policy gradients ------------------------------------------------------------------------------


def _advantages(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    return gae(rewards, values, gamma=gamma, lam=lam)[0]


def _backwards(rewards: Tensor, following: Tensor, values: Tensor, gamma: float, decay: float) -> Tensor:
    """Compute advantages with any definition of the next value and any factor of the next advantage."""
    deltas = (rewards + gamma * following - values).flip(1).unbind(1)
    found = list(accumulate(deltas, lambda advantage, delta: delta + decay * advantage))
    return torch.stack(found, dim=1).flip(1)


def _next(values: Tensor) -> Tensor:
    return F.pad(values[:, 1:], (0, 1))


def _gae_probes() -> list[Arguments]:
    return [
        (noise(6, 2, 4), noise(7, 2, 4), 0.9, 0.8),
        (torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.2, 0.5, 0.6]]), 0.95, 0.5),
    ]


def _in_groups(
    rewards: Tensor, group_size: int, *, correction: int = 1, eps: float = 1e-4, centered: bool = True
) -> Tensor:
    grouped = rewards.view(-1, group_size)
    mean = grouped.mean(dim=1, keepdim=True) if centered else 0.0
    return ((grouped - mean) / (grouped.std(dim=1, keepdim=True, correction=correction) + eps)).flatten()


def _surrogate(logp: Tensor, old_logp: Tensor, advantages: Tensor, clip: float) -> Tensor:
    return clipped_surrogate(logp, old_logp, advantages, clip_eps=clip)


def _surrogate_probes() -> list[Arguments]:
    logp = torch.tensor([2.0, 0.5, 2.0, 0.5, 1.1]).log()
    return [(logp, torch.zeros(5), torch.tensor([1.0, 1.0, -1.0, -1.0, 2.0]), 0.2)]


EXERCISES = (
    Exercise(
        "sft-targets",
        "sft_targets(prompt, answer): the targets for the inputs (prompt + answer)[:-1]. Each target is the "
        "next token if that token belongs to the answer, and -100 otherwise.",
        _targets,
        lambda: [([5, 6, 7], [8, 9]), ([1], [2, 3, 4])],
        (
            Mistake(
                "loss on the prompt",
                "the prompt is learned as well",
                "The user's words are read, not written. Their targets are -100.",
                lambda prompt, answer: _hidden_prompt(prompt, answer, 0),
            ),
            Mistake(
                "label shift forgotten",
                "the target is the token at the position itself, not the next one",
                "The last token of the prompt predicts the first of the answer.",
                lambda prompt, answer: ([IGNORE_INDEX] * len(prompt) + answer)[:-1],
            ),
            Mistake(
                "first token of the answer hidden",
                "one position too many is hidden",
                "The last token of the prompt has a target: the first token of the answer.",
                lambda prompt, answer: _hidden_prompt(prompt, answer, len(prompt)),
            ),
            Mistake(
                "last token of the prompt learned",
                "one position too few is hidden",
                "No prompt token is a target. The first len(prompt) - 1 positions predict prompt tokens.",
                lambda prompt, answer: _hidden_prompt(prompt, answer, max(len(prompt) - 2, 0)),
            ),
        ),
        ("Write the ids on one line, and the next ids below them.",),
    ),
    Exercise(
        "turn-mask",
        "turns(messages): the ids of a conversation, and for each id whether it is learned. A message is a "
        "pair of role and ids; it is written as 1, the role (3 for 'user', 4 for 'assistant'), its ids, 2. "
        "What the model has to write itself is learned.",
        _turns,
        lambda: [
            ([("user", [10, 11]), ("assistant", [12]), ("user", [13]), ("assistant", [14, 15])],),
            ([("user", [20]), ("assistant", [])],),
        ],
        (
            Mistake(
                "end of the turn not learned",
                "the 2 that ends a response is not learned",
                "The model has to stop by itself, so it must learn to write the 2.",
                lambda messages: _turns(messages, end=False),
            ),
            Mistake(
                "header learned as well",
                "the 1 and the role before a response are learned",
                "The program writes them, to ask for a response.",
                lambda messages: _turns(messages, header=True),
            ),
            Mistake(
                "last response only",
                "earlier responses of the conversation are not learned",
                "Every response counts. Only in preference data does the last one alone count.",
                lambda messages: _turns(messages, last_only=True),
            ),
            Mistake(
                "the user's turns learned",
                "what the user says is learned, and what the assistant says is not",
                "The mask is inverted.",
                lambda messages: _turns(messages, learned="user"),
            ),
        ),
        (
            "Build both lists side by side, message by message.",
            "The 2 at the end of a response is learned, the one at the end of a question is not.",
        ),
    ),
    Exercise(
        "sequence-logprob",
        "sequence_logprob(logits, labels): log-probability of each row of labels, (B, T, V) and (B, T) to "
        "(B,). Labels of -100 do not count. The labels are shifted already.",
        sequence_logprob,
        _logprob_probes,
        (
            Mistake(
                "mean instead of sum",
                "the log-probabilities are averaged over the tokens",
                "The probability of a completion is a product. DPO's derivation needs the sum; the mean is "
                "another method.",
                lambda logits, labels: sequence_logprob(logits, labels) / (labels != IGNORE_INDEX).sum(-1),
            ),
            Mistake(
                "ignored labels counted",
                "labels of -100 are treated as token 0",
                "Clamp the labels for gather, then mask the result.",
                lambda logits, labels: _logprobs(logits, labels).sum(-1),
            ),
            Mistake(
                "sum of all rows",
                "the rows are added up",
                "One number for each row: sum over the tokens only.",
                lambda logits, labels: sequence_logprob(logits, labels).sum(),
            ),
            Mistake(
                "logits instead of log-probabilities",
                "the logits are summed without a log_softmax",
                "Logits are log-probabilities up to a constant that differs at each position.",
                lambda logits, labels: (
                    logits.gather(-1, labels.clamp(min=0)[..., None])[..., 0] * (labels != IGNORE_INDEX)
                ).sum(-1),
            ),
        ),
        ("log_softmax, gather, mask, sum.",),
    ),
    Exercise(
        "bradley-terry",
        "bradley_terry(chosen, rejected): mean loss of a reward model from the rewards of pairs.",
        bradley_terry_loss,
        lambda: [(torch.tensor([2.0, 0.5]), torch.tensor([1.0, 1.5])), (noise(8, 4), noise(9, 4))],
        (
            Mistake(
                "pair swapped",
                "the loss falls when the rejected completion gets the higher reward",
                "chosen - rejected: the loss falls as the chosen reward rises.",
                lambda chosen, rejected: bradley_terry_loss(rejected, chosen),
            ),
            Mistake(
                "logarithm forgotten",
                "the probability is averaged instead of its logarithm",
                "The loss is -log sigmoid. Use logsigmoid, which does not underflow.",
                lambda chosen, rejected: -torch.sigmoid(chosen - rejected).mean(),
            ),
            Mistake(
                "sum instead of mean",
                "the losses are summed",
                "Divide by the number of pairs.",
                lambda chosen, rejected: -F.logsigmoid(chosen - rejected).sum(),
            ),
            Mistake(
                "logarithm of the mean",
                "the mean is taken before the logarithm",
                "The likelihood of all pairs is a product, so take the logarithm of each pair first.",
                lambda chosen, rejected: -torch.sigmoid(chosen - rejected).mean().log(),
            ),
        ),
        ("The chosen completion is preferred with probability sigmoid(difference).",),
    ),
    Exercise(
        "kl",
        "kl(logits, ref_logits): KL(policy || reference) in nats of each row, from the logits of both.",
        _kl,
        lambda: [(noise(10, 3, 5), noise(11, 3, 5)), (2 * noise(12, 1, 4), noise(13, 1, 4))],
        (
            Mistake(
                "KL the other way around",
                "KL(reference || policy) is computed",
                "The average is over what the policy would write. F.kl_div(input, target) has the target "
                "first in the formula.",
                lambda logits, ref_logits: _kl(ref_logits, logits),
            ),
            Mistake(
                "KL sign",
                "the divergence is negative",
                "Take log policy minus log reference. A KL divergence is never below 0.",
                lambda logits, ref_logits: -_kl(logits, ref_logits),
            ),
            Mistake(
                "mean over the vocabulary",
                "the terms are averaged over the vocabulary",
                "It is an expectation: weighted by the probabilities and summed. F.kl_div's "
                "reduction='mean' is a trap.",
                lambda logits, ref_logits: _kl(logits, ref_logits) / logits.shape[-1],
            ),
            Mistake(
                "not weighted",
                "the log-ratios are summed without the probabilities of the policy",
                "Weight each by the probability that the policy gives the token.",
                lambda logits, ref_logits: (logits.log_softmax(-1) - ref_logits.log_softmax(-1)).sum(-1),
            ),
        ),
        ("p * (log p - log q), summed.",),
    ),
    Exercise(
        "kl-estimate",
        "k3(logp, ref_logp): the estimate of KL(policy || reference) that is never negative, from the "
        "log-probabilities of tokens that the policy sampled: exp(d) - 1 - d with d = ref_logp - logp.",
        partial(kl_estimate, kind="k3"),
        lambda: [(noise(14, 4) - 2, noise(15, 4) - 2)],
        (
            Mistake(
                "KL sign",
                "d is policy minus reference",
                "The policy sampled the tokens, so its log-probability is subtracted.",
                lambda logp, ref_logp: kl_estimate(ref_logp, logp, "k3"),
            ),
            Mistake(
                "k1 instead of k3",
                "only the log-ratio is returned, which is often negative",
                "Add exp(d) - 1, whose mean is 0.",
                kl_estimate,
            ),
            Mistake(
                "1 forgotten",
                "1 is not subtracted",
                "At d = 0 the estimate is 0.",
                lambda logp, ref_logp: kl_estimate(logp, ref_logp, "k3") + 1,
            ),
        ),
        ("torch.expm1(d) is exp(d) - 1 without loss of digits.",),
    ),
    Exercise(
        "gae",
        "gae(rewards, values, gamma, lam): advantages (B, T). delta_t = r_t + gamma V_(t+1) - V_t and "
        "A_t = delta_t + gamma lam A_(t+1); after the last token the value is 0.",
        _advantages,
        _gae_probes,
        (
            Mistake(
                "next value off by one",
                "the value of the same token is used instead of that of the next token",
                "delta compares V_t with what came: r_t and the value one token later.",
                lambda r, v, gamma, lam: _backwards(r, v, v, gamma, gamma * lam),
            ),
            Mistake(
                "value after the end",
                "the last value is used again after the last token",
                "The completion is over, so the next value is 0.",
                lambda r, v, gamma, lam: _backwards(
                    r, torch.cat([v[:, 1:], v[:, -1:]], dim=1), v, gamma, gamma * lam
                ),
            ),
            Mistake(
                "lambda forgotten",
                "the next advantage is multiplied by gamma alone",
                "Multiply it by gamma * lam.",
                lambda r, v, gamma, lam: _backwards(r, _next(v), v, gamma, gamma),
            ),
            Mistake(
                "gamma forgotten in the sum",
                "the next advantage is multiplied by lambda alone",
                "Multiply it by gamma * lam.",
                lambda r, v, gamma, lam: _backwards(r, _next(v), v, gamma, lam),
            ),
            Mistake(
                "one step only",
                "the deltas are returned, as with lambda 0",
                "Add gamma lam times the advantage of the next token, from the end to the start.",
                lambda r, v, gamma, lam: _backwards(r, _next(v), v, gamma, 0.0),
            ),
            Mistake(
                "returns instead of advantages",
                "the values are added: these are the returns",
                "Returns train the value model, advantages the policy.",
                lambda r, v, gamma, lam: _advantages(r, v, gamma, lam) + v,
            ),
            Mistake(
                "forward instead of backward",
                "the sum runs from the first token to the last",
                "A token is responsible for what comes after it.",
                lambda r, v, gamma, lam: _backwards(
                    r.flip(1), _next(v).flip(1), v.flip(1), gamma, gamma * lam
                ).flip(1),
            ),
        ),
        ("Loop over t from the end.", "Keep two things: the next value and the next advantage."),
    ),
    Exercise(
        "group-advantages",
        "group_advantages(rewards, group_size): (r - mean) / (std + 1e-4) within each group of neighboring "
        "completions, std with Bessel's correction.",
        group_advantages,
        lambda: [
            (torch.tensor([1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0, 5.0, 2.0, 3.0, 7.0, 1.0]), 4),
            (noise(16, 6), 3),
        ],
        (
            Mistake(
                "advantage not normalized",
                "the mean is subtracted and nothing is divided (this is Dr. GRPO)",
                "Divide by the standard deviation of the group.",
                partial(group_advantages, scale=False),
            ),
            Mistake(
                "normalized over the batch",
                "mean and standard deviation are those of all completions together",
                "The completions of an easy prompt would all look good. Compare within a group: "
                "view(-1, group_size).",
                lambda rewards, group_size: _in_groups(rewards, len(rewards)),
            ),
            Mistake(
                "deviation without Bessel's correction",
                "the variance is divided by G instead of G - 1",
                "torch.std divides by G - 1 by default; numpy's does not.",
                partial(_in_groups, correction=0),
            ),
            Mistake(
                "division by zero",
                "nothing keeps the division finite in a group of equal rewards",
                "Add 1e-4 to the standard deviation. Such a group teaches nothing: its advantages are 0.",
                partial(_in_groups, eps=0.0),
            ),
            Mistake(
                "mean not subtracted",
                "the rewards are only divided",
                "Without a baseline every completion with a positive reward is reinforced.",
                partial(_in_groups, centered=False),
            ),
        ),
        ("rewards.view(-1, group_size), then mean and std over dim 1.",),
    ),
    Exercise(
        "ppo-clip",
        "surrogate(logp, old_logp, advantages, clip): PPO's loss of each action, minus the smaller of the "
        "ratio times the advantage and the clipped ratio times the advantage.",
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
        ),
        ("Four cases: ratio too high or too low, advantage positive or negative.",),
    ),
)
