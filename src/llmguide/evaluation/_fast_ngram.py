"""`llmguide.evaluation.ngram_baseline.ngram_probabilities` with numpy, for texts of megabytes."""

from typing import Any

import numpy as np

_Array = np.ndarray[Any, np.dtype[Any]]


def fast_ngram_probabilities(train: bytes, held_out: bytes, order: int) -> _Array:
    """Compute `ngram_probabilities` for orders of at most 8, the bytes that fit into a 64-bit integer."""
    train_bytes, held_out_bytes = np.frombuffer(train, np.uint8), np.frombuffer(held_out, np.uint8)
    p = np.full(len(held_out_bytes), 1 / 256)
    for k in range(1, min(order, len(train), len(held_out)) + 1):
        grams, n_grams = np.unique(_codes(train_bytes, k), return_counts=True)
        # sorted, so the n-grams of one context are neighbors
        contexts, first = np.unique(_context(grams, k), return_index=True)
        n_contexts, n_followers = np.add.reduceat(n_grams, first), np.diff([*first, len(grams)])
        codes = _codes(held_out_bytes, k)
        n_hc = _look_up(grams, n_grams, codes)
        n_h = _look_up(contexts, n_contexts, _context(codes, k))
        t_h = _look_up(contexts, n_followers, _context(codes, k))
        p_k = p[k - 1 :]  # the first k - 1 bytes have no context of this length and keep the shorter one
        known = t_h > 0
        p_k[known] = (n_hc[known] + t_h[known] * p_k[known]) / (n_h[known] + t_h[known])
    return p


def _codes(text: _Array, k: int) -> _Array:
    """Encode each k-gram of bytes as one integer, the last byte in the lowest bits."""
    codes = np.zeros(len(text) - k + 1, np.uint64)
    for i in range(k):
        codes = (codes << np.uint64(8)) | text[i : len(text) - k + 1 + i]
    return codes


def _context(codes: _Array, k: int) -> _Array:
    """Drop the last byte of each k-gram."""
    return codes >> np.uint64(8) if k > 1 else np.zeros_like(codes)


def _look_up(keys: _Array, values: _Array, wanted: _Array) -> _Array:
    """Look up the values of the wanted keys, 0 where there is no such key; ``keys`` are sorted."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
