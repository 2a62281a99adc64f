"""Compare language models with different tokenizers by the bits that each needs for the same documents."""

import random
from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from llmguide.data.tokens.encode import encode_ordinary
from llmguide.evaluation.likelihood import bits_per_byte, device, text_logprobs
from llmguide.evaluation.ngram_baseline import ngram_bits
from llmguide.projects.analysis.bootstrap import ratio_bootstrap_interval
from llmguide.projects.pretrained import separator, sizes
from llmguide.tokenization.tokenizer import Tokenizer

ORDERS = range(1, 9)  # of n-gram models, in bytes
PASSAGE = 1000  # bytes or characters of a passage, the unit that is resampled where documents are few

Bits = Float[np.ndarray, " _"]  # of each byte, or of each character, of a text


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


def byte_bits(model: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Bits]:
    """Compute the bits of each byte of each text under a model; those of a token are at its first byte.

    Args:
        model: Decoder in evaluation mode; its windows overlap by half.
        tokenizer: Tokenizer of the model.
        texts: Documents, each predicted independently and none of them empty.
    """
    found = []
    for text in texts:
        ids = encode_ordinary(tokenizer, text)
        started = torch.tensor([separator(tokenizer), *ids], device=device(model))
        logprobs = text_logprobs(model, started, stride=model.config.context_length // 2)
        bits = np.zeros(len(text.encode()))
        bits[np.cumsum([0, *sizes(tokenizer, ids)[:-1]])] = -logprobs.double().numpy() / log(2)
        found.append(bits)
    return found


def best_ngram_bits(train: Sequence[str], texts: Sequence[str]) -> tuple[int, list[Bits]]:
    """Compute the bits of each byte of each text under the n-gram model of the best order from 1 to 8.

    The order is the one that needs the fewest bits for these very texts, which favors this baseline.

    Args:
        train: Documents to count n-grams in.
        texts: Documents to predict.

    Returns:
        The order, and the bits of the bytes of each text.
    """
    counted, predicted = "\n".join(train).encode(), [text.encode() for text in texts]
    bits = {order: ngram_bits(counted, predicted, order) for order in ORDERS}
    best = min(ORDERS, key=lambda order: sum(map(np.sum, bits[order])))
    return best, bits[best]


def against_ngram(order: int, ngram: Sequence[Bits], model: Sequence[Bits]) -> dict[str, Any]:
    """Compare a model with the n-gram model of the best order, with intervals over passages.

    Args:
        order: Order of the n-gram model.
        ngram: Bits of each byte, or of each character, of each text under the n-gram model.
        model: The same under the model.

    Returns:
        The ``best n-gram`` with its order and its bits per byte or character, and ``model minus n-gram``, the
        difference of the two.
    """
    changes = [bits - others for bits, others in zip(model, ngram, strict=True)]
    return {
        "best n-gram": {"order": order} | passage_interval(ngram),
        "model minus n-gram": passage_interval(changes),
    }


def passage_interval(bits: Sequence[Bits]) -> dict[str, float]:
    """Compute the mean of the bits of texts, with the 95% bootstrap interval over passages.

    The passages are consecutive parts of few documents, so the interval is about these documents, not about
    others.

    >>> passage_interval([np.array([1.0] * 1000 + [3.0] * 1000)])
    {'score': 2.0, 'low': 1.0, 'high': 3.0}
    """
    passages = [text[i : i + PASSAGE] for text in bits for i in range(0, len(text), PASSAGE)]
    totals = [float(passage.sum()) for passage in passages]
    return ratio_bootstrap_interval(totals, list(map(len, passages)))._asdict()


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
