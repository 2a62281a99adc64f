"""`llmguide.data.cleaning.dedup.MinHash.signature` in chunks that fit into the cache of a core."""

import numpy as np
from jaxtyping import UInt32

_CHUNK = 512  # n-grams hashed at a time: 512 x 112 x 4 bytes


def fast_signature(
    mixed: UInt32[np.ndarray, " N"], a: UInt32[np.ndarray, " P"], c: UInt32[np.ndarray, " P"]
) -> UInt32[np.ndarray, " P"]:
    """Compute the smallest ``a h + c`` modulo 2^32 over all hashes h, for each ordering (a, c)."""
    smallest = np.full(len(a), 2**32 - 1, np.uint32)
    for at in range(0, len(mixed), _CHUNK):
        permuted = np.multiply.outer(mixed[at : at + _CHUNK], a)
        permuted += c
        np.minimum(smallest, permuted.min(axis=0), out=smallest)
    return smallest
