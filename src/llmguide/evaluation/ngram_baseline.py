r"""Counting, the bar that a neural model has to pass: an n-gram model of bytes, by Witten and Bell.

$$p_k(c \mid h) = \frac{n(hc) + t(h)\, p_{k-1}(c \mid h')}{n(h) + t(h)}$$

$h$ is the context of $k - 1$ bytes and $h'$ the same without its first; $n$ counts, and $t(h)$ is how many
different bytes have followed $h$: where many have, the next new one is likely, and the shorter context counts
more. $p_0 = 1/256$.

References: Witten & Bell 1991, "The zero-frequency problem"; Chen & Goodman 1998, "An empirical study of
smoothing techniques for language modeling", section 2.6 (this form).

Leaves out: Kneser-Ney smoothing, which is better, and words: bytes make it comparable with every tokenizer.
"""

from typing import Any

import numpy as np

_Array = np.ndarray[Any, np.dtype[Any]]


def ngram_bits_per_byte(train: bytes, held_out: bytes, order: int) -> float:
    """Bits that an n-gram model counted on one text needs for each byte of another.

    Args:
        train: Text that is counted.
        held_out: Text that is predicted, each byte from the ``order - 1`` before it.
        order: Bytes of the longest n-gram, 1 to 8; 0 for a guess.

    Returns:
        Bits per byte.

    Raises:
        ValueError: A text is empty or no such order.

    >>> ngram_bits_per_byte(b"ab", b"xyz", 0)
    8.0
    >>> p = (1 + 2 / 256) / (2 + 2)  # n(a) = 1, n = 2, t = 2
    >>> round(ngram_bits_per_byte(b"ab", b"a", 1) + np.log2(p).item(), 9)
    0.0
    """
    if not (train and held_out and 0 <= order <= 8):
        raise ValueError(f"{len(train)} and {len(held_out)} bytes must be some, order={order} from 0 to 8")
    seen, asked = np.frombuffer(train, np.uint8), np.frombuffer(held_out, np.uint8)
    p = np.full(len(asked), 1 / 256)
    for k in range(1, min(order, len(train)) + 1):
        grams, n = np.unique(_codes(seen, k), return_counts=True)
        contexts, first = (
            np.unique(grams >> np.uint64(8), return_index=True) if k > 1 else (np.zeros(1, np.uint64), [0])
        )
        # grams are sorted, so those of one context lie together
        n_context, kinds = np.add.reduceat(n, first), np.diff([*first, len(grams)])
        codes = _codes(asked, k)
        own = p[k - 1 :]  # the first bytes have no context this long and keep the shorter one
        n_own, (n_h, t_h) = (
            _look_up(grams, codes, n)[0],
            _look_up(contexts, codes >> np.uint64(8) if k > 1 else codes * np.uint64(0), n_context, kinds),
        )
        known = t_h > 0
        own[known] = (n_own[known] + t_h[known] * own[known]) / (n_h[known] + t_h[known])
    return float(-np.log2(p).mean())


def _codes(text: _Array, k: int) -> _Array:
    """Each run of k bytes as one number, the last byte lowest."""
    codes = np.zeros(max(0, len(text) - k + 1), np.uint64)
    for i in range(k):
        codes = (codes << np.uint64(8)) | text[i : len(text) - k + 1 + i]
    return codes


def _look_up(keys: _Array, asked: _Array, *values: _Array) -> list[_Array]:
    """Values of the keys asked for, 0 where there is no such key; keys are sorted."""
    places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return [np.where(keys[places] == asked, value[places], 0) for value in values]
