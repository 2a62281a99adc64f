r"""What a language model knows, by the probabilities it gives: perplexity, bits per byte, choices, last word.

All of it is one measurement, the log-probability of text given the text before it:

$$\text{perplexity} = \exp\Big(-\frac{1}{N} \sum_t \log p(x_t \mid x_{<t})\Big), \qquad
\text{bits per byte} = -\frac{1}{\text{bytes} \cdot \ln 2} \sum_t \log p(x_t \mid x_{<t})$$

Perplexity counts tokens, so it can only be compared between models with the same tokenizer: one with longer
tokens has fewer, harder guesses. Bits per byte divides by the length of the text itself, and is what a
compressor that used the model would need; it can be compared across tokenizers, for the same text, context
and stride.

References: windows that overlap (Baevski & Auli 2018, arXiv:1809.10853); multiple choice and last word as in
EleutherAI's lm-evaluation-harness (v0.4, https://github.com/EleutherAI/lm-evaluation-harness), the latter on
LAMBADA (Paperno et al. 2016, arXiv:1606.06031). Scores of answers are in `llmguide.evaluation.metrics`.

Leaves out: few-shot prompts, which are part of the context given here, and the tasks themselves.

Glossary: ``N`` tokens of a text, ``B`` rows, ``T`` tokens of a window.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import exp, log
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.training.losses import head_weight, token_logprobs

BATCH_TOKENS = 8192  # of windows run at a time
BATCH_ROWS = 16  # of continuations


class Question(NamedTuple):
    """A context and the texts that may follow it, of which one is right.

    Attributes:
        context: With examples and instructions, if any; without the space before the answer.
        choices: The answers, without that space.
        answer: Number of the right one, from 0.
    """

    context: str
    choices: Sequence[str]
    answer: int


class ChoiceScores(NamedTuple):
    """Shares of questions answered right; `guess` is what picking at random would give.

    Attributes:
        acc: The answer is the choice of the highest log-probability, which favors short ones.
        acc_norm: The log-probability is divided by the characters of the choice first.
        guess: Mean of 1 / number of choices.
        n: Questions.
    """

    acc: float
    acc_norm: float
    guess: float
    n: int


class LastWordScores(NamedTuple):
    """Of predicting the last word of passages: share whose every token is the likeliest, and perplexity."""

    acc: float
    perplexity: float
    n: int


def text_logprobs(
    model: Any, ids: Int[Tensor, " N"], *, context: int | None = None, stride: int | None = None
) -> Float[Tensor, " N_minus_1"]:
    """Log-probability of every token but the first, in windows that move over the text.

    Each window scores the tokens that no earlier one did, so that all but those of the first see at least
    ``context - stride + 1`` tokens.

    Args:
        model: A decoder of `llmguide.models`.
        ids: One text; put the token that stands for its beginning first.
        context: Tokens that a window holds; None: the model's context length.
        stride: Tokens that a window moves. None: all of it, the fastest, with the least context at the
            beginning of each window; half of it costs twice and comes close to the best.

    Returns:
        Log-probabilities in nats.

    Raises:
        ValueError: There is nothing to predict, or the sizes do not fit.

    >>> from llmguide.config import ModelConfig
    >>> from llmguide.models import build
    >>> model = build(ModelConfig(vocab_size=4, context_length=4, n_layers=1, d_model=2, n_heads=1)).eval()
    >>> _ = torch.nn.init.zeros_(model.tokens.weight)  # the tied head gives every token the same logit
    >>> text_logprobs(model, torch.tensor([0, 3, 1, 2]), context=2, stride=1).exp().tolist()
    [0.25, 0.25, 0.25]
    """
    _require_evaluation_mode(model)
    longest = model.config.context_length
    context = longest if context is None else context
    stride = context if stride is None else stride
    if len(ids) < 2:
        raise ValueError(f"{len(ids)} tokens hold nothing to predict: put a token for the beginning first")
    if not 1 <= stride <= context <= longest:
        raise ValueError(
            f"stride={stride} must be between 1 and context={context}, and that at most the model's {longest}"
        )
    n_targets = len(ids) - 1
    width = min(context, n_targets)
    # where windows end; the last one is moved back to end with the text, and scores what is left
    ends = [*range(width, n_targets, stride), n_targets]
    found = torch.empty(n_targets)
    scored = 0
    for group in _groups(ends, BATCH_TOKENS // width):
        rows = torch.stack([ids[end - width : end + 1] for end in group])
        with torch.inference_mode():
            logprobs = token_logprobs(model.hidden(rows[:, :-1]), head_weight(model), rows[:, 1:]).cpu()
        for end, row in zip(group, logprobs, strict=True):
            found[scored:end] = row[width - (end - scored) :]
            scored = end
    return found


def perplexity(
    model: Any, ids: Int[Tensor, " N"], *, context: int | None = None, stride: int | None = None
) -> float:
    """Perplexity of a text: among how many equally likely tokens the model hesitates, on average.

    Args:
        model: As in `text_logprobs`, like the others.
        ids: One text.
        context: See `text_logprobs`.
        stride: See `text_logprobs`.

    Returns:
        At least 1; the size of the vocabulary for a model that guesses.

    >>> from llmguide import ModelConfig, build, perplexity
    >>> model = build(ModelConfig(vocab_size=4, context_length=4, n_layers=1, d_model=2, n_heads=1)).eval()
    >>> _ = torch.nn.init.zeros_(model.tokens.weight)  # the tied head gives every token the same logit
    >>> round(perplexity(model, torch.tensor([0, 3, 1, 2])), 4)
    4.0
    """
    return exp(-text_logprobs(model, ids, context=context, stride=stride).double().mean().item())


def bits_per_byte(
    model: Any,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    bos_id: int,
    context: int | None = None,
    stride: int | None = None,
) -> float:
    """Bits that the model needs for a byte of UTF-8, each text read on its own.

    Args:
        model: As in `text_logprobs`.
        tokenizer: Has ``encode``. If it drops something of the text, the result is too low.
        texts: Held-out documents.
        bos_id: Token that stands before each, so that its first token is predicted and counted too;
            ``<|endoftext|>`` where documents were trained on with that between them.
        context: See `text_logprobs`.
        stride: See `text_logprobs`.

    Returns:
        8 for a model that guesses bytes; what a compressor such as gzip reaches is a first bar to pass.

    Raises:
        ValueError: The texts are empty.

    >>> from llmguide import ModelConfig, bits_per_byte, build
    >>> model = build(ModelConfig(vocab_size=256, context_length=4, n_layers=1, d_model=2, n_heads=1)).eval()
    >>> _ = torch.nn.init.zeros_(model.tokens.weight)  # the tied head gives every token the same logit
    >>> class Bytes:
    ...     encode = staticmethod(lambda text: list(text.encode()))
    >>> round(bits_per_byte(model, Bytes, ["naïve", "text"], bos_id=0), 4)
    8.0
    """
    nats, n_bytes = 0.0, 0
    for text in texts:
        if text:
            ids = torch.tensor([bos_id, *tokenizer.encode(text)], device=_device(model))
            nats -= text_logprobs(model, ids, context=context, stride=stride).double().sum().item()
            n_bytes += len(text.encode())
    if n_bytes == 0:
        raise ValueError("the texts hold no byte: give documents that are not empty")
    return nats / log(2) / n_bytes


def multiple_choice(
    model: Any, tokenizer: Any, questions: Iterable[Question], *, bos_id: int
) -> ChoiceScores:
    """Answer each question with its most probable choice, as lm-evaluation-harness does.

    Args:
        model: As in `text_logprobs`.
        tokenizer: Has ``encode``.
        questions: A space is put between context and choice.
        bos_id: Stands for the context where there is none.

    Returns:
        Accuracies; `llmguide.evaluation.metrics.wilson_interval` says how sure they are.

    Raises:
        ValueError: There are no questions, or one has no such answer.
    """
    right, right_norm, guess = [], [], []
    for question in questions:
        n = len(question.choices)
        if not 0 <= question.answer < n or not all(question.choices):
            raise ValueError(f"{question}: answer must number one of the choices, and none may be empty")
        pairs = [(question.context, f" {choice}") for choice in question.choices]
        scores = [score for score, _ in continuation_logprobs(model, tokenizer, pairs, bos_id=bos_id)]
        norm = [score / len(choice) for score, choice in zip(scores, question.choices, strict=True)]
        right.append(scores.index(max(scores)) == question.answer)
        right_norm.append(norm.index(max(norm)) == question.answer)
        guess.append(1 / n)
    if not right:
        raise ValueError("there are no questions to answer")
    n = len(right)
    return ChoiceScores(sum(right) / n, sum(right_norm) / n, sum(guess) / n, n)


def last_word(model: Any, tokenizer: Any, passages: Sequence[str], *, bos_id: int) -> LastWordScores:
    """Predict the last word of each passage from the rest, as lm-evaluation-harness scores LAMBADA.

    Args:
        model: As in `text_logprobs`.
        tokenizer: Has ``encode``.
        passages: Of at least two words, split at the last space.
        bos_id: As in `continuation_logprobs`.

    Returns:
        Accuracy, and perplexity of a word (not of a token).

    Raises:
        ValueError: There are no passages, or one has a single word.
    """
    if not passages or any(" " not in passage.strip() for passage in passages):
        raise ValueError(f"{len(passages)} passages: give at least one, each of at least two words")
    pairs = []
    for passage in passages:
        context, _, word = passage.rstrip().rpartition(" ")
        pairs.append((context, f" {word}"))
    found = continuation_logprobs(model, tokenizer, pairs, bos_id=bos_id)
    n = len(found)
    return LastWordScores(
        sum(greedy for _, greedy in found) / n, exp(-sum(score for score, _ in found) / n), n
    )


def continuation_logprobs(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], *, bos_id: int
) -> list[tuple[float, bool]]:
    """Log-probability of each continuation given its context, and whether greedy decoding would write it.

    Both are encoded as one text, so that the tokens are those the model knows; spaces that end the context
    belong to the continuation. A text longer than the model's context loses its beginning.

    Args:
        model: As in `text_logprobs`.
        tokenizer: Has ``encode``.
        pairs: Context and continuation.
        bos_id: Stands for the context where there is none.

    Returns:
        A sum in nats and a boolean for each pair.

    Raises:
        ValueError: A continuation has no token of its own.
    """
    _require_evaluation_mode(model)
    rows = [_encode_pair(tokenizer, *pair, bos_id=bos_id) for pair in pairs]
    found = []
    for group in _groups(rows, BATCH_ROWS):
        found += _continuation_logprobs(model, group)
    return found


@torch.inference_mode()
def _continuation_logprobs(model: Any, rows: Sequence[tuple[list[int], int]]) -> list[tuple[float, bool]]:
    """Score the last tokens, as many as the second number says, of each row."""
    longest = model.config.context_length
    width = min(longest, max(len(ids) for ids, _ in rows) - 1)
    # padding comes after the text, and is seen by no token of it
    inputs = torch.zeros(len(rows), width, dtype=torch.long)
    targets = torch.full_like(inputs, IGNORE_INDEX)
    for i, (ids, n) in enumerate(rows):
        kept = torch.tensor(ids[-(longest + 1) :])
        inputs[i, : len(kept) - 1] = kept[:-1]
        first = max(0, len(kept) - 1 - n)
        targets[i, first : len(kept) - 1] = kept[first + 1 :]
    inputs, targets = inputs.to(_device(model)), targets.to(_device(model))
    hidden = model.hidden(inputs)
    sums = token_logprobs(hidden, head_weight(model), targets).double().sum(1)
    counted = targets != IGNORE_INDEX
    missed = model.unembed(hidden[counted]).argmax(-1) != targets[counted]
    not_greedy = set(counted.nonzero()[missed][:, 0].tolist())
    return [(total, i not in not_greedy) for i, total in enumerate(sums.tolist())]


def _encode_pair(tokenizer: Any, context: str, continuation: str, *, bos_id: int) -> tuple[list[int], int]:
    stripped = context.rstrip()
    before = tokenizer.encode(stripped) if stripped else []
    whole = tokenizer.encode(context + continuation)
    n = len(whole) - len(before)
    if n < 1:
        raise ValueError(f"continuation {continuation!r} has no token of its own after {context[-40:]!r}")
    return (whole if before else [bos_id, *whole]), n


def _groups(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    size = max(1, size)
    return (items[start : start + size] for start in range(0, len(items), size))


def _device(model: Any) -> torch.device:
    device: torch.device = next(model.parameters()).device
    return device


def _require_evaluation_mode(model: Any) -> None:
    if model.training and model.config.dropout > 0:
        raise ValueError(
            f"dropout={model.config.dropout} is active, so scores would be random: call model.eval()"
        )
