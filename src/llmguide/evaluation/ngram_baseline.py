r"""The baseline of a neural language model: a byte-level n-gram model with Witten-Bell smoothing.

$$p_k(c \mid h) = \frac{n(hc) + t(h)\, p_{k-1}(c \mid h')}{n(h) + t(h)}$$

$h$ is the context of $k - 1$ bytes and $h'$ is $h$ without its first byte. $n(hc)$ counts how often $c$
followed $h$, $n(h)$ is the sum over all $c$, and $t(h)$ is the number of different bytes that followed $h$.
A context with many different continuations is likely to be followed by a new one, so it gives more weight to
the shorter context. $p_0 = 1/256$.

`ngram_probabilities` is the formula. `ngram_bits_per_byte` computes the same with numpy.

References: Witten & Bell 1991, "The zero-frequency problem"; Chen & Goodman 1998, "An empirical study of
smoothing techniques for language modeling", section 2.6 (this form).

Leaves out: Kneser-Ney smoothing, which is better, and words: bytes make the model comparable with every
tokenizer.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from llmguide.evaluation._fast_ngram import fast_ngram_probabilities


def ngram_probabilities(train: bytes, held_out: bytes, order: int) -> list[float]:
    """Compute the probability of each byte of a text under an n-gram model counted on another text.

    Args:
        train: Text to count n-grams in.
        held_out: Text to predict, each byte from the ``order - 1`` bytes before it.
        order: Length of the longest n-gram in bytes, 0 or more; 0 is the uniform distribution.

    Returns:
        One probability for each byte of ``held_out``.

    >>> ngram_probabilities(b"ab", b"a", 1) == [(1 + 2 / 256) / (2 + 2)]  # n(a) = 1, n = 2, t = 2
    True
    """
    followers: defaultdict[bytes, Counter[int]] = defaultdict(Counter)  # n(hc) for each context h
    for k in range(1, order + 1):
        for i in range(k - 1, len(train)):
            followers[train[i - k + 1 : i]][train[i]] += 1

    probabilities = []
    for i, byte in enumerate(held_out):
        p = 1 / 256
        for k in range(1, min(order, i + 1) + 1):  # from the shortest context to the longest
            if seen := followers.get(held_out[i - k + 1 : i]):
                n, t = seen.total(), len(seen)
                p = (seen[byte] + t * p) / (n + t)
        probabilities.append(p)
    return probabilities


def ngram_bits_per_byte(train: bytes, held_out: bytes, order: int) -> float:
    """Compute the bits per byte of a text under an n-gram model counted on another text.

    Args:
        train: Text to count n-grams in, at least 1 byte.
        held_out: Text to predict, at least 1 byte.
        order: Length of the longest n-gram in bytes, 0 to 8; 0 is the uniform distribution.

    Returns:
        Bits per byte.

    Raises:
        ValueError: A text is empty, or ``order`` is outside 0 to 8.

    >>> ngram_bits_per_byte(b"ab", b"xyz", 0)
    8.0
    """
    if not (train and held_out and 0 <= order <= 8):
        raise ValueError(
            f"got {len(train)} bytes to count, {len(held_out)} bytes to predict and order={order}; each text "
            "needs at least one byte, and order must be from 0 to 8"
        )
    return float(-np.log2(fast_ngram_probabilities(train, held_out, order)).mean())


def ngram_bits(train: bytes, held_out: Sequence[bytes], order: int) -> list[Float[np.ndarray, " _"]]:
    """Compute the bits of each byte of several texts under an n-gram model that is counted once.

    Args:
        train: Texts to count n-grams in, separated by line feeds.
        held_out: Texts to predict, each after a line feed.
        order: Length of the longest n-gram in bytes, 0 to 8.

    Returns:
        Bits of the bytes of each text; their mean is bits per byte.

    >>> [bits.tolist() for bits in ngram_bits(b"ab", [b"x", b"yz"], 0)]
    [[8.0], [8.0, 8.0]]
    """
    bits = -np.log2(fast_ngram_probabilities(train, b"\n" + b"\n".join(held_out), order))
    ends = np.cumsum([len(text) + 1 for text in held_out])
    return [bits[end - len(text) : end] for end, text in zip(ends, held_out, strict=True)]
