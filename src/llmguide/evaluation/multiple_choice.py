"""Multiple-choice questions and last-word prediction by the likelihood of the continuation.

References: EleutherAI's lm-evaluation-harness (v0.4, https://github.com/EleutherAI/lm-evaluation-harness);
last-word prediction as on LAMBADA (Paperno et al. 2016, arXiv:1606.06031).

Leaves out: few-shot prompts, which are part of the context given here, and the tasks themselves.
"""

from collections.abc import Iterable, Sequence
from math import exp
from typing import Any, NamedTuple

import torch
from torch import nn

from llmguide.data.tokens.encode import encode_ordinary
from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.evaluation.likelihood import device, evaluated, groups
from llmguide.generation.steps import new_cache
from llmguide.models.decoder_protocol import Decoder
from llmguide.training.losses import head_logprobs

BATCH_ROWS = 16  # continuations that are run at a time


class Question(NamedTuple):
    """A multiple-choice question.

    Attributes:
        context: Question with examples and instructions, if any; without the space before the answer.
        choices: Possible answers, without the space before them.
        answer: Index of the right choice.
    """

    context: str
    choices: Sequence[str]
    answer: int


class ChoiceScores(NamedTuple):
    """Multiple-choice accuracies.

    Attributes:
        acc: Accuracy of the choice with the highest log-probability, which favors short choices.
        acc_norm: Accuracy of the choice with the highest log-probability per character.
        guess: Expected accuracy of guessing, the mean of 1 / number of choices.
        n: Number of questions.
    """

    acc: float
    acc_norm: float
    guess: float
    n: int


class LastWordScores(NamedTuple):
    """Last-word (LAMBADA) results: greedy accuracy, perplexity per word, and number of passages."""

    acc: float
    perplexity: float
    n: int


def multiple_choice(
    model: Decoder | nn.Module, tokenizer: Any, questions: Iterable[Question], *, bos_id: int
) -> ChoiceScores:
    """Answer each question with its most probable choice, as lm-evaluation-harness does.

    Args:
        model: A decoder of `llmguide.models` in evaluation mode.
        tokenizer: Tokenizer of the model, ours or one of Hugging Face.
        questions: Multiple-choice questions; a space is put between context and choice.
        bos_id: Token that replaces an empty context.

    Returns:
        Accuracies; `llmguide.evaluation.metrics.wilson_interval` gives their intervals.

    Raises:
        ValueError: There are no questions, or one has no such answer.
    """
    right, right_norm, guess = [], [], []
    for question in questions:
        is_best, is_best_norm = is_right(model, tokenizer, question, bos_id=bos_id)
        right.append(is_best)
        right_norm.append(is_best_norm)
        guess.append(1 / len(question.choices))
    if not right:
        raise ValueError("there are no questions to answer")
    n = len(right)
    return ChoiceScores(sum(right) / n, sum(right_norm) / n, sum(guess) / n, n)


def is_right(
    model: Decoder | nn.Module, tokenizer: Any, question: Question, *, bos_id: int
) -> tuple[bool, bool]:
    """Return whether the right choice is the most probable one: in total, and per character.

    Args:
        model: A decoder of `llmguide.models` in evaluation mode.
        tokenizer: Tokenizer of the model, ours or one of Hugging Face.
        question: Multiple-choice question; a space is put between context and choice.
        bos_id: Token that replaces an empty context.

    Raises:
        ValueError: The question has no such answer, or a choice is empty.
    """
    if not 0 <= question.answer < len(question.choices) or not all(question.choices):
        raise ValueError(f"{question}: answer must be the index of a choice, and none may be empty")
    pairs = [(question.context, f" {choice}") for choice in question.choices]
    scores = [score for score, _ in continuation_logprobs(model, tokenizer, pairs, bos_id=bos_id)]
    norm = [score / len(choice) for score, choice in zip(scores, question.choices, strict=True)]
    return scores.index(max(scores)) == question.answer, norm.index(max(norm)) == question.answer


def last_word(
    model: Decoder | nn.Module, tokenizer: Any, passages: Sequence[str], *, bos_id: int
) -> LastWordScores:
    """Predict the last word of each passage from the rest, as lm-evaluation-harness scores LAMBADA.

    Args:
        model: A decoder of `llmguide.models` in evaluation mode.
        tokenizer: Tokenizer of the model, ours or one of Hugging Face.
        passages: Passages of at least two words, which are split at the last space.
        bos_id: Token that replaces an empty context.

    Returns:
        Accuracy, and perplexity per word (not per token).

    Raises:
        ValueError: There are no passages, or one has a single word.
    """
    if not passages:
        raise ValueError("there are no passages: give at least one, each of at least two words")
    pairs = [split_last_word(passage) for passage in passages]
    found = continuation_logprobs(model, tokenizer, pairs, bos_id=bos_id)
    n = len(found)
    return LastWordScores(
        sum(greedy for _, greedy in found) / n, exp(-sum(score for score, _ in found) / n), n
    )


def split_last_word(passage: str) -> tuple[str, str]:
    """Split a passage at its last space into context and last word, which keeps the space.

    Raises:
        ValueError: The passage has a single word.

    >>> split_last_word("of mice and men ")
    ('of mice and', ' men')
    """
    context, _, word = passage.rstrip().rpartition(" ")
    if not context.strip():
        raise ValueError(f"passage {passage!r} must have at least two words")
    return context, f" {word}"


def continuation_logprobs(
    model: Decoder | nn.Module, tokenizer: Any, pairs: Sequence[tuple[str, str]], *, bos_id: int
) -> list[tuple[float, bool]]:
    """Compute the log-probability of each continuation, and whether greedy decoding would generate it.

    Context and continuation are encoded as one text, as the model saw text in training; spaces that end the
    context belong to the continuation. A text longer than the model's context is truncated at its start.

    Args:
        model: A decoder of `llmguide.models` in evaluation mode.
        tokenizer: Tokenizer of the model, ours or one of Hugging Face.
        pairs: Pairs of context and continuation.
        bos_id: Token that replaces an empty context.

    Returns:
        Log-probability in nats, and whether it is greedy, for each pair.

    Raises:
        ValueError: A continuation has no token of its own.
    """
    decoder = evaluated(model)
    rows = [_encode_pair(tokenizer, *pair, bos_id=bos_id) for pair in pairs]
    found = []
    for group in groups(rows, BATCH_ROWS):
        found += _continuation_logprobs(decoder, group)
    return found


@torch.inference_mode()
def _continuation_logprobs(model: Decoder, rows: Sequence[tuple[list[int], int]]) -> list[tuple[float, bool]]:
    """Score the last tokens of each row, whose number is the second element of its pair.

    The tokens that all rows begin with, such as a question before its choices, are run once.
    """
    longest = model.config.context_length
    rows = [(ids[-(longest + 1) :], n) for ids, n in rows]
    n_shared = _n_shared(rows)
    cache = None
    if n_shared and len(rows) > 1:
        cache = new_cache(model, n_shared)
        model.hidden(torch.tensor([rows[0][0][:n_shared]], device=device(model)), cache=cache)
        cache.reorder(torch.zeros(len(rows), dtype=torch.long, device=device(model)))
    else:
        n_shared = 0
    width = max(len(ids) for ids, _ in rows) - 1 - n_shared
    # padding comes after the text, so no token attends to it
    inputs = torch.zeros(len(rows), width, dtype=torch.long)
    targets = torch.full_like(inputs, IGNORE_INDEX)
    for i, (ids, n) in enumerate(rows):
        new = torch.tensor(ids[n_shared:])
        inputs[i, : len(new) - 1] = new[:-1]
        first = max(0, len(new) - 1 - n)
        targets[i, first : len(new) - 1] = new[first + 1 :]
    inputs, targets = inputs.to(device(model)), targets.to(device(model))
    hidden = model.hidden(inputs, cache=cache)
    sums = head_logprobs(model, hidden, targets).double().sum(1)
    counted = targets != IGNORE_INDEX
    missed = model.unembed(hidden[counted]).argmax(-1) != targets[counted]
    not_greedy = set(counted.nonzero()[missed][:, 0].tolist())
    return [(total, i not in not_greedy) for i, total in enumerate(sums.tolist())]


def _n_shared(rows: Sequence[tuple[list[int], int]]) -> int:
    """Return how many tokens all rows begin with, at most those before the one that predicts a target.

    >>> _n_shared([([5, 6, 7, 8], 1), ([5, 6, 7, 9, 9], 2)])  # 7 predicts 8 and 9
    2
    """
    most = max(0, min(len(ids) - 1 - n for ids, n in rows))
    columns = zip(*(ids[:most] for ids, _ in rows), strict=True)
    return next((i for i, column in enumerate(columns) if len(set(column)) > 1), most)


def _encode_pair(tokenizer: Any, context: str, continuation: str, *, bos_id: int) -> tuple[list[int], int]:
    stripped = context.rstrip()
    before = encode_ordinary(tokenizer, stripped) if stripped else []
    whole = encode_ordinary(tokenizer, context + continuation)
    n = len(whole) - len(before)
    if n < 1:
        raise ValueError(f"continuation {continuation!r} has no token of its own after {context[-40:]!r}")
    return (whole if before else [bos_id, *whole]), n
