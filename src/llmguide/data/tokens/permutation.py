r"""A pseudo-random permutation of any size in constant memory.

`numpy.random.permutation` of $10^9$ numbers takes 8 GB. A Feistel network computes single elements instead:
with $n \le a b$, write $x = a r + l$ and shift each half by a hash of the other,

$$l \leftarrow (l + F_k(r)) \bmod a, \qquad r \leftarrow (r + F_k(l)) \bmod b$$

Each shift is invertible, so the network is a bijection of the $ab$ numbers for any $F$. A result of at least
$n$ is fed in again until it is below $n$ ("cycle walking"), which preserves the bijection; with $a =
\lceil\sqrt n\rceil$ that is needed for fewer than one in $\sqrt n$ numbers.

References: Black and Rogaway 2002, "Ciphers with arbitrary finite domains" (generalized Feistel, cycle
walking); Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators" (the mixing
function).

Leaves out: cryptographic security. Eight rounds mix well enough to shuffle, but not to encrypt.
"""

from math import isqrt

import numpy as np
from jaxtyping import Int, UInt

ROUNDS = 8  # rounds; with 4, small domains show visible patterns


class Permutation:
    """A seeded pseudo-random permutation of 0 to n - 1, computed at any position on demand.

    Args:
        n: Number of elements, 1 to $2^{62}$.
        seed: Seed of one or more integers.

    Raises:
        ValueError: ``n`` is out of range.

    >>> order = Permutation(10, (0, 1))(np.arange(10))
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    >>> Permutation(10**15, (0, 1))(np.array([7])).shape
    (1,)
    """

    def __init__(self, n: int, seed: tuple[int, ...]) -> None:
        if not 1 <= n <= 1 << 62:
            raise ValueError(f"n={n} must be between 1 and 2**62")
        self.n = n
        self._a = np.uint64(isqrt(n - 1) + 1)
        self._b = np.uint64(-(-n // int(self._a)))
        self._keys = np.random.SeedSequence(seed).generate_state(ROUNDS, np.uint64)

    def __call__(self, places: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Return the element at each position; positions are from 0 to n - 1."""
        found = self._shifted(places.astype(np.uint64))
        while (beyond := found >= self.n).any():
            found[beyond] = self._shifted(found[beyond])
        order: Int[np.ndarray, " n"] = found.astype(np.int64)
        return order

    def _shifted(self, x: UInt[np.ndarray, " n"]) -> UInt[np.ndarray, " n"]:
        right, left = np.divmod(x, self._a)
        for i in range(0, ROUNDS, 2):
            left = (left + _mixed(right ^ self._keys[i])) % self._a
            right = (right + _mixed(left ^ self._keys[i + 1])) % self._b
        return right * self._a + left


_30, _27, _31, _2 = map(np.uint64, (30, 27, 31, 2))
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _mixed(x: UInt[np.ndarray, " n"]) -> UInt[np.ndarray, " n"]:
    """Mix all 64 bits (the finalizer of SplitMix64) into 62 bits, so that additions do not overflow."""
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    x ^= x >> _31
    x >>= _2
    return x
