"""Exercises of cross-entropy and perplexity."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from llmguide.exercises.definition import Arguments, Exercise, Mistake

# ---- measuring -------------------------------------------------------------------------------------


def bits(probabilities: Sequence[float]) -> float:
    """Compute the cross-entropy in bits from the probability that a model gave to each letter.

    >>> bits([0.5, 0.125])  # 1 bit and 3 bits
    2.0
    """
    return -sum(math.log2(p) for p in probabilities) / len(probabilities)


# ---- a long text -----------------------------------------------------------------------------------

Score = Callable[[list[int]], list[float]]
Spans = list[tuple[int, int, int]]  # for each window its start, its end, and the first token that it counts


def _spans(n_tokens: int, context: int, stride: int) -> Spans:
    """Return overlapping windows that count each token but the first once."""
    spans, counted = [], 1
    while counted < n_tokens:
        end = min(context if counted == 1 else counted + stride, n_tokens)
        spans.append((max(0, end - context), end, counted))
        counted = end
    return spans


def _shorter_last(n_tokens: int, context: int, stride: int) -> Spans:
    """Return windows that all start at a multiple of the stride."""
    starts = range(0, max(n_tokens - context + stride - 1, 0) // stride * stride + 1, stride)
    ends = [min(start + context, n_tokens) for start in starts]
    return [*zip(starts, ends, [1, *ends[:-1]], strict=True)]


def sliding_perplexity(
    score: Score,
    tokens: list[int],
    context: int,
    stride: int,
    *,
    spans: Callable[[int, int, int], Spans] = _spans,
    finish: Callable[[list[list[float]]], float] = lambda parts: math.exp(
        -sum(map(sum, parts)) / sum(map(len, parts))
    ),
) -> float:
    """Compute the perplexity of a text in overlapping windows, with switches for the mistakes."""
    parts = []
    for start, end, counted in spans(len(tokens), context, stride):
        logprobs = score(tokens[start:end])
        parts.append(logprobs[counted - start - 1 :])
    return finish(parts)


def _all_predictions(n_tokens: int, context: int, stride: int) -> Spans:
    return [(start, end, start + 1) for start, end, _ in _spans(n_tokens, context, stride)]


def _without_overlap(n_tokens: int, context: int, stride: int) -> Spans:
    starts = range(0, n_tokens - 1, context)
    return [(start, min(start + context, n_tokens), start + 1) for start in starts]


def _without_rest(n_tokens: int, context: int, stride: int) -> Spans:
    spans = _spans(n_tokens, context, stride)
    return [span for span in spans if span == spans[0] or span[1] - span[2] == stride]


def better_with_context(window: list[int]) -> list[float]:
    """Score a window; a named function, so that an error can show it."""
    return [
        -0.3 - (7 * token + 3 * before) % 5 / 4 - 2 / (i + 1)
        for i, (before, token) in enumerate(pairwise(window))
    ]


def _long_text_probes() -> list[Arguments]:
    text = [(i * i + 3 * i) % 11 for i in range(23)]
    sizes = (23, 8, 3), (12, 5, 4), (21, 6, 1), (4, 9, 2), (17, 8, 4)
    return [(better_with_context, text[:n], context, stride) for n, context, stride in sizes]


EXERCISES = (
    Exercise(
        "bits",
        "bits(probabilities): the cross-entropy in bits per letter, from the probability that a model gave "
        "to each letter that occurred.",
        bits,
        lambda: [([0.5, 0.125],), ([0.9, 0.01, 0.3],), ([1.0, 0.25],)],
        (
            Mistake(
                "nats for bits",
                "the natural logarithm is used",
                "A letter of probability 1/2 costs one bit: use log2.",
                lambda probabilities: bits(probabilities) * math.log(2),
            ),
            Mistake(
                "sign",
                "the minus is missing",
                "The logarithm of a probability is negative or 0; the cost is not negative.",
                lambda probabilities: -bits(probabilities),
            ),
            Mistake(
                "sum for mean",
                "the costs are summed and not divided by their number",
                "Then a longer text would always cost more.",
                lambda probabilities: bits(probabilities) * len(probabilities),
            ),
            Mistake(
                "logarithm of the mean",
                "the probabilities are averaged first",
                "A letter with a tiny probability must cost a lot. Take each logarithm first.",
                lambda probabilities: -math.log2(sum(probabilities) / len(probabilities)),
            ),
        ),
        ("A letter of probability p costs -log2(p) bits.",),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "sliding-perplexity",
        "perplexity(score, tokens, context, stride) returns the perplexity of a text that can be longer than "
        "the context of the model. `score(window)` takes a list of 2 to `context` tokens and returns the "
        "log-probability (natural logarithm) of each of them except the first, given those before it in the "
        "window. Every token of the text except the first counts once. The first window is the first "
        "`context` tokens. Each next window ends `stride` tokens later, or at the end of the text, and has "
        "`context` tokens, too. It counts the tokens that no earlier window has counted. A text of at most "
        "`context` tokens is one window. The stride is at least 1 and less than context.",
        sliding_perplexity,
        _long_text_probes,
        (
            Mistake(
                "windows without overlap",
                "the text is cut into windows that do not overlap",
                "Then the first tokens of each window have hardly any context, and one is not predicted at "
                "all. Move the window by `stride`.",
                partial(sliding_perplexity, spans=_without_overlap),
            ),
            Mistake(
                "tokens counted twice",
                "all predictions of every window count",
                "Tokens in the overlap were counted by an earlier window. Take only the last ones.",
                partial(sliding_perplexity, spans=_all_predictions),
            ),
            Mistake(
                "end of the text lost",
                "tokens at the end that do not fill a stride are left out",
                "The last window ends with the text and counts fewer tokens.",
                partial(sliding_perplexity, spans=_without_rest),
            ),
            Mistake(
                "last window shorter",
                "the last window starts a whole stride after the one before, and so it is shorter",
                "It ends with the text and has `context` tokens: its start moves by less.",
                partial(sliding_perplexity, spans=_shorter_last),
            ),
            Mistake(
                "mean of perplexities",
                "the perplexities of the windows are averaged",
                "Average the log-probabilities of all tokens first. The windows count different numbers of "
                "tokens.",
                partial(
                    sliding_perplexity,
                    finish=lambda parts: sum(math.exp(-sum(part) / len(part)) for part in parts) / len(parts),
                ),
            ),
            Mistake(
                "power of 2",
                "2 is raised to the mean, although the logarithms are natural",
                "The base of the power must be that of the logarithms.",
                partial(
                    sliding_perplexity,
                    finish=lambda parts: float(2 ** (-sum(map(sum, parts)) / sum(map(len, parts)))),
                ),
            ),
            Mistake(
                "divided by all tokens",
                "the sum is divided by the number of tokens, the first included",
                "The first token is not predicted, so there is one prediction fewer.",
                partial(
                    sliding_perplexity,
                    finish=lambda parts: math.exp(-sum(map(sum, parts)) / (sum(map(len, parts)) + 1)),
                ),
            ),
            Mistake(
                "whole windows at multiples of the stride",
                "a window starts at every multiple of the stride, and all its predictions count",
                "Count only what no earlier window has counted, and let the last window end with the text.",
                partial(
                    sliding_perplexity,
                    spans=lambda *sizes: [(a, b, a + 1) for a, b, _ in _shorter_last(*sizes)],
                ),
            ),
        ),
        (
            "For each window, find three positions: where it starts, where it ends, and up to where earlier "
            "windows have counted.",
            "The last (end - counted) entries of score(window) belong to the new tokens.",
            "Collect the log-probabilities of all windows in one list, then take the exponential of minus "
            "their mean.",
        ),
        level="medium",
        minutes=20,
        after="A small stride gives every token a long context, and costs as many more passes. Published "
        "perplexities can be compared only for the same tokens, context and stride.",
    ),
)
