"""Exercises of the post-training chapter: targets, masks, log-probabilities, rewards."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.post_training.preferences.dpo import sequence_logprob
from llmguide.post_training.preferences.reward_model import bradley_terry_loss
from llmguide.post_training.rl.policy_gradient import kl_estimate
from llmguide.post_training.sft import completion, shifted


def _targets(prompt: list[int], answer: list[int]) -> list[int]:
    targets: list[int] = shifted(completion(prompt, answer))[1].tolist()
    return targets


def _hidden_prompt(prompt: list[int], answer: list[int], hidden: int) -> list[int]:
    """Shifted targets of which the first ``hidden`` do not count."""
    targets = [*prompt, *answer][1:]
    return [IGNORE_INDEX] * hidden + targets[hidden:]


_SFT_TARGETS = Exercise(
    "sft-targets",
    "sft_targets(prompt, answer): the targets below the inputs (prompt + answer) without its last "
    "token. Each is "
    "the next token if it belongs to the answer, else -100.",
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
            "the target is the token that stands there, not the next one",
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
            "Of the prompt nothing is a target; there are len(prompt) - 1 positions that predict it.",
            lambda prompt, answer: _hidden_prompt(prompt, answer, max(len(prompt) - 2, 0)),
        ),
    ),
    ("Write the ids in one line, the next ids below.",),
)


START, END, ROLES = 1, 2, {"user": 3, "assistant": 4}


def _turns(
    messages: list[tuple[str, list[int]]],
    *,
    learned: str = "assistant",
    header: bool = False,
    end: bool = True,
    last_only: bool = False,
) -> tuple[list[int], list[bool]]:
    """The ids of a conversation and which of them are learned."""
    ids: list[int] = []
    mask: list[bool] = []
    for i, (role, content) in enumerate(messages):
        counts = role == learned and (not last_only or i == len(messages) - 1)
        ids += [START, ROLES[role], *content, END]
        mask += [counts and header] * 2 + [counts] * len(content) + [counts and end]
    return ids, mask


_TURN_MASK = Exercise(
    "turn-mask",
    "turns(messages): the ids of a conversation, and for each whether it is learned. A message is a pair "
    "of role and ids; it is written as 1, the role (3 for 'user', 4 for 'assistant'), its ids, 2. What "
    "the model has to write itself is learned.",
    _turns,
    lambda: [
        ([("user", [10, 11]), ("assistant", [12]), ("user", [13]), ("assistant", [14, 15])],),
        ([("user", [20]), ("assistant", [])],),
    ],
    (
        Mistake(
            "end of the turn not learned",
            "the 2 that ends an answer is not learned",
            "The model has to stop by itself. The end is its last word.",
            lambda messages: _turns(messages, end=False),
        ),
        Mistake(
            "header learned as well",
            "the 1 and the role before an answer are learned",
            "The program writes them, to ask for an answer.",
            lambda messages: _turns(messages, header=True),
        ),
        Mistake(
            "last answer only",
            "earlier answers of the conversation are not learned",
            "Every answer counts. Only in preference data the last one stands alone.",
            lambda messages: _turns(messages, last_only=True),
        ),
        Mistake(
            "the user's turns learned",
            "what the user says is learned, and what the assistant says is not",
            "The mask is upside down.",
            lambda messages: _turns(messages, learned="user"),
        ),
    ),
    (
        "Build both lists side by side, message by message.",
        "The last 2 of an answer counts, of a question not.",
    ),
)


def _logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]


def _logprob_probes() -> list[Arguments]:
    labels = torch.tensor([[1, 3, IGNORE_INDEX, 2], [IGNORE_INDEX, IGNORE_INDEX, 0, 4]])
    return [(noise(0, 2, 4, 5), labels), (2 * noise(1, 1, 3, 4), torch.tensor([[3, 0, 1]]))]


_SEQUENCE_LOGPROB = Exercise(
    "sequence-logprob",
    "sequence_logprob(logits, labels): log-probability of each row of labels, (B, T, V) and (B, T) to "
    "(B,). Labels "
    "of -100 do not count. The labels are shifted already.",
    sequence_logprob,
    _logprob_probes,
    (
        Mistake(
            "mean instead of sum",
            "the log-probabilities are averaged over the tokens",
            "The probability of an answer is a product. DPO's derivation needs the sum; the mean is "
            "another method.",
            lambda logits, labels: sequence_logprob(logits, labels) / (labels != IGNORE_INDEX).sum(-1),
        ),
        Mistake(
            "ignored labels counted",
            "labels of -100 are taken for token 0",
            "Clamp for gather, then mask what was found.",
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
)


_BRADLEY_TERRY = Exercise(
    "bradley-terry",
    "bradley_terry(chosen, rejected): mean loss of a reward model from the rewards of pairs.",
    bradley_terry_loss,
    lambda: [(torch.tensor([2.0, 0.5]), torch.tensor([1.0, 1.5])), (noise(8, 4), noise(9, 4))],
    (
        Mistake(
            "pair swapped",
            "the rejected answer is the one that should win",
            "chosen - rejected: the loss falls as the chosen reward rises.",
            lambda chosen, rejected: bradley_terry_loss(rejected, chosen),
        ),
        Mistake(
            "logarithm forgotten",
            "the probability is averaged instead of its logarithm",
            "-log sigmoid; use logsigmoid, which does not underflow.",
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
            "The likelihood of all pairs is a product: logarithm first.",
            lambda chosen, rejected: -torch.sigmoid(chosen - rejected).mean().log(),
        ),
    ),
    ("The chosen answer wins with probability sigmoid(difference).",),
)


def _kl(logits: Tensor, ref_logits: Tensor) -> Tensor:
    p, q = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


_KL = Exercise(
    "kl",
    "kl(logits, ref_logits): KL(policy || reference) in nats of each row, from the logits of both.",
    _kl,
    lambda: [(noise(10, 3, 5), noise(11, 3, 5)), (2 * noise(12, 1, 4), noise(13, 1, 4))],
    (
        Mistake(
            "KL the other way round",
            "KL(reference || policy) is computed",
            "The average is over what the policy would write. F.kl_div(input, target) has the target "
            "first in the formula.",
            lambda logits, ref_logits: _kl(ref_logits, logits),
        ),
        Mistake(
            "KL sign",
            "the divergence is negative",
            "log policy minus log reference. A KL is never below 0.",
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
)


_KL_ESTIMATE = Exercise(
    "kl-estimate",
    "k3(logp, ref_logp): the estimate of KL(policy || reference) that is never negative, from the "
    "log-probabilities "
    "of tokens that the policy drew: exp(d) - 1 - d with d = ref_logp - logp.",
    partial(kl_estimate, kind="k3"),
    lambda: [(noise(14, 4) - 2, noise(15, 4) - 2)],
    (
        Mistake(
            "KL sign",
            "d is policy minus reference",
            "The policy drew the tokens, so its log-probability is subtracted.",
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
)


EXERCISES = (
    _SFT_TARGETS,
    _TURN_MASK,
    _SEQUENCE_LOGPROB,
    _BRADLEY_TERRY,
    _KL,
    _KL_ESTIMATE,
)
