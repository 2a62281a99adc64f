"""Exercises of supervised fine-tuning: targets, masks, log-probabilities."""

from functools import partial

import torch
from torch import Tensor

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.post_training.preferences.dpo import sequence_logprob
from llmguide.post_training.sft import completion, shifted


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
    header: tuple[bool, bool] = (False, False),
    end: bool = True,
    every_end: bool = False,
    last_only: bool = False,
) -> tuple[list[int], list[bool]]:
    """Return the token ids of a conversation and its loss mask."""
    ids: list[int] = []
    mask: list[bool] = []
    for i, (role, content) in enumerate(messages):
        counts = role == learned and (not last_only or i == len(messages) - 1)
        ids += [START, ROLES[role], *content, END]
        mask += [counts and part for part in (*header, *[True] * len(content))]
        mask.append(every_end or (counts and end))
    return ids, mask


def _logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]


def _logprob_probes() -> list[Arguments]:
    labels = torch.tensor([[1, 3, IGNORE_INDEX, 2], [IGNORE_INDEX, IGNORE_INDEX, 0, 4]])
    return [(noise(0, 2, 4, 5), labels), (2 * noise(1, 1, 3, 4), torch.tensor([[3, 0, 1]]))]


EXERCISES = (
    Exercise(
        "sft-targets",
        "sft_targets(prompt, answer): the list of the targets for the inputs (prompt + answer)[:-1]. Each "
        "target is the next token if that token belongs to the answer, and -100 otherwise.",
        _targets,
        lambda: [([5, 6, 7], [8, 9]), ([1], [2, 3, 4]), ([5, 6, 7], [6, 9])],
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
                "labels that are not shifted",
                "there is a target for each token, equal to the token itself",
                "These are the labels that transformers takes, because it shifts them itself. Here the last "
                "token is not an input, and each target is the token after its input.",
                lambda prompt, answer: [IGNORE_INDEX] * len(prompt) + answer,
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
            Mistake(
                "last token of the answer hidden",
                "the last token of the answer is hidden",
                "It is usually the end token. A model that never learns it does not know when to stop.",
                lambda prompt, answer: [*_targets(prompt, answer)[:-1], IGNORE_INDEX],
            ),
            Mistake(
                "prompt hidden by value",
                "every token that occurs in the prompt is hidden",
                "A token of the prompt can occur in the answer too. Decide by the position.",
                lambda prompt, answer: [
                    IGNORE_INDEX if token in prompt else token for token in [*prompt, *answer][1:]
                ],
            ),
            Mistake(
                "answer found by value",
                "every token that occurs in the answer is a target",
                "A token of the answer can occur in the prompt too. Decide by the position.",
                lambda prompt, answer: [
                    token if token in answer else IGNORE_INDEX for token in [*prompt, *answer][1:]
                ],
            ),
        ),
        (
            "Write the ids on one line, and the next ids below them.",
            "Which of the next ids belong to the answer? The last token of the prompt already predicts one.",
            "len(prompt) - 1 targets are tokens of the prompt. They become -100, and the answer follows.",
        ),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "turn-mask",
        "turns(messages): a tuple of the list of the ids of a conversation, and a list of bools: for each "
        "id, whether it is learned. A message is a pair of role and ids; it is written as 1, the role (3 for "
        "'user', 4 for 'assistant'), its ids, 2. What the model has to write itself is learned.",
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
                partial(_turns, end=False),
            ),
            Mistake(
                "end of every turn learned",
                "the 2 that ends a turn of the user is learned as well",
                "The user's side ends its turn, so the model does not write this 2.",
                partial(_turns, every_end=True),
            ),
            Mistake(
                "header learned as well",
                "the 1 and the role before a response are learned",
                "The program writes them, to ask for a response.",
                partial(_turns, header=(True, True)),
            ),
            Mistake(
                "last response only",
                "earlier responses of the conversation are not learned",
                "Every response counts. Only in preference data does the last one alone count.",
                partial(_turns, last_only=True),
            ),
            Mistake(
                "the user's turns learned",
                "what the user says is learned, and what the assistant says is not",
                "The mask is inverted.",
                partial(_turns, learned="user"),
            ),
            Mistake(
                "everything learned",
                "every id is learned",
                "The user and the program write the other ids. The model only reads them.",
                lambda messages: (_turns(messages)[0], [True] * len(_turns(messages)[0])),
            ),
            Mistake(
                "role learned as well",
                "the role of the assistant is learned",
                "The program writes 1 and the role, and then asks the model to go on.",
                partial(_turns, header=(False, True)),
            ),
            Mistake(
                "mask inverted",
                "True stands for what is not learned",
                "True means that the model learns to predict this id.",
                lambda messages: (_turns(messages)[0], [not learned for learned in _turns(messages)[1]]),
            ),
            Mistake(
                "list of pairs",
                "a list with a pair for each id is returned",
                "Return two lists in a tuple: the ids and the mask.",
                lambda messages: list(zip(*_turns(messages), strict=True)),
            ),
        ),
        (
            "Build both lists side by side, message by message.",
            "The 2 at the end of a response is learned, the one at the end of a question is not.",
            "A message adds [1, role, *content, 2] to the ids. In a response, the content and the 2 are "
            "learned.",
        ),
        level="medium",
        minutes=10,
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
        (
            "The log-probability of a row is a sum: which probability does the model give to each label?",
            "log_softmax over the vocabulary, then gather the entry of each label.",
            "gather cannot take -100. Clamp the labels first, and mask the result before the sum over T.",
        ),
        level="medium",
        minutes=10,
    ),
)
