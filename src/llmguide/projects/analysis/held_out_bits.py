"""Compare language models with different tokenizers by the bits that each needs for the same documents."""

import random
from collections.abc import Sequence
from typing import Any

from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.evaluation.ngram_baseline import ngram_bits
from llmguide.projects.analysis.bootstrap import ratio_bootstrap_interval
from llmguide.projects.pretrained import separator

ORDERS = range(4, 9)  # of n-gram models, in bytes


def excerpts(texts: Sequence[str], n: int | None) -> list[str]:
    """Cut each text to n characters from a random place, so that more documents can be measured.

    Args:
        texts: Texts of documents; empty ones are dropped.
        n: Most characters of an excerpt; None: the whole text.

    >>> [len(text) for text in excerpts(["abcdef", "", "gh"], 4)]
    [4, 2]
    """
    rng, cut = random.Random(0), []
    for text in filter(None, texts):
        size = len(text) if n is None else min(n, len(text))
        start = rng.randrange(len(text) - size + 1)
        cut.append(text[start : start + size])
    return cut


def model_bits(model: Any, tokenizer: Any, texts: Sequence[str], context: int) -> list[float]:
    """Compute the bits of each text under a model, in windows that overlap by half.

    Args:
        model: Decoder in evaluation mode.
        tokenizer: Tokenizer of the model, from `llmguide.projects.pretrained.open_pretrained`.
        texts: Documents, each predicted independently and none of them empty.
        context: Tokens of a window.
    """
    options = {"bos_id": separator(tokenizer), "context": context, "stride": context // 2}
    return [bits_per_byte(model, tokenizer, [text], **options) * len(text.encode()) for text in texts]


def best_ngram_bits(train: Sequence[str], texts: Sequence[str]) -> tuple[int, list[float]]:
    """Compute the bits of each text under the n-gram model of the best order.

    The order is the one that needs the fewest bits for these very texts, which favors this baseline.

    Args:
        train: Documents to count n-grams in.
        texts: Documents to predict.

    Returns:
        The order, and the bits of each text.
    """
    counted, predicted = "\n".join(train).encode(), [text.encode() for text in texts]
    bits = {order: ngram_bits(counted, predicted, order) for order in ORDERS}
    best = min(ORDERS, key=lambda order: sum(bits[order]))
    return best, bits[best]


def rate(bits: Sequence[float], texts: Sequence[str]) -> float:
    """Compute the bits per byte of all texts from the bits of each."""
    return sum(bits) / sum(len(text.encode()) for text in texts)


def rate_difference(bits: Sequence[float], others: Sequence[float], texts: Sequence[str]) -> dict[str, float]:
    """Compute the difference of two models in bits per byte, with the 95% interval over documents.

    >>> rate_difference([8.0, 8.0], [16.0, 16.0], ["a", "b"])
    {'score': -8.0, 'low': -8.0, 'high': -8.0}
    """
    changes = [bit - other for bit, other in zip(bits, others, strict=True)]
    return ratio_bootstrap_interval(changes, [len(text.encode()) for text in texts])._asdict()
