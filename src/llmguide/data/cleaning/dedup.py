r"""Deduplication: exact duplicates by a hash, near duplicates by MinHash and locality-sensitive hashing.

The similarity of two documents is the Jaccard similarity of their sets of word 5-grams,

$$s = \frac{|A \cap B|}{|A \cup B|}.$$

Under a random ordering of all n-grams, the first of $A$ is the first of $B$ with probability $s$. A signature
holds the first (the smallest hash) for each of 112 orderings, so the fraction of equal entries estimates $s$
(Broder 1997, "On the resemblance and containment of documents"). Split into $b = 14$ bands of $r = 8$ rows,
two signatures agree in at least one whole band, and so collide in a hash table, with probability

$$P(s) = 1 - (1 - s^r)^b,$$

an S-shaped curve that is steepest near $(1/b)^{1/r} = 0.72$: 0.5 gives 5%, 0.72 gives 65%, 0.8 gives 92%. The
numbers are FineWeb's (Penedo et al. 2024, arXiv:2406.17557, section 3.4).

| symbol | meaning | shape |
| --- | --- | --- |
| $n$ | words of an n-gram, 5 | |
| $P = b r$ | orderings, 112 | |
| signature | smallest hashes | (P,) uint32 |
| keys | a number for each band | (b,) int64 |

An ordering is $h \mapsto a h + c \bmod 2^{32}$ with odd $a$, after MurmurHash3's finalizer; with the same
seed it is the one of `datasketch.MinHash`, whose signatures are equal.

The classes store the hashes of seen documents in SQLite, on disk: memory is one document and SQLite's cache
(64 MiB) for a corpus of any size, and the disk holds about 30 bytes per document for `ExactDuplicates` and
350 for `NearDuplicates`. Documents are compared with those kept before, so the first of a group is kept. At
some tens of millions of documents random disk access becomes the bottleneck;
`llmguide.data.cleaning.datatrove` sorts instead.

Leaves out: verification of the candidates, which would remove the false positives below the threshold
(FineWeb has none either), and duplicate substrings (Lee et al. 2021, arXiv:2107.06499).
"""

import hashlib
import re
import sqlite3
import unicodedata
import zlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64, UInt32, UInt64
from numpy.typing import NDArray

from llmguide.data.cleaning._fast_minhash import fast_signature

BANDS, ROWS, NGRAM = 14, 8, 5
_WORD = re.compile(r"\w+")
_29 = np.uint64(29)
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, the multiplier of Fibonacci hashing


def plain_words(text: str) -> list[str]:
    """Split a text into lower-case words without punctuation, so that formatting makes no difference.

    >>> plain_words("Don't -- stop!")
    ['don', 't', 'stop']
    """
    return _WORD.findall(text.lower())


def ngram_hashes(words: list[str], n: int = NGRAM) -> UInt64[np.ndarray, " N"]:
    r"""Hash each n-gram to 64 bits.

    $h = \sum_i w_i m^{n-1-i} \bmod 2^{64}$ with the CRC-32 $w_i$ of a word and a constant $m$, then
    $(h \oplus \lfloor h / 2^{32} \rfloor) m$, without which the upper half would not depend on the last word.
    The value is the same on every machine. Two different n-grams collide if their words do, with a
    probability of $2^{-32}$ per word, and all other words are equal.

    Args:
        words: Words of a text, in order.
        n: Number of words of an n-gram. A shorter text is one n-gram.

    Returns:
        A hash for each n-gram; none if there are no words.

    >>> a, b = ngram_hashes(["a", "b", "c"], 2), ngram_hashes(["b", "c"], 2)
    >>> len(a), bool(a[1] == b[0]), len(ngram_hashes([], 2))
    (2, True, 0)
    """
    encoded = " ".join(words).encode("utf-8", "surrogatepass").split(b" ") if words else []
    hashes = np.fromiter(map(zlib.crc32, encoded), np.uint64, len(encoded))
    n = min(n, len(words))
    out = np.zeros(max(len(words) - n + 1, 0) if words else 0, np.uint64)
    for i in range(n):
        out *= _ODD
        out += hashes[i : len(words) - n + 1 + i]
    return (out ^ (out >> np.uint64(32))) * _ODD


class MinHash:
    """MinHash signatures of texts under a fixed set of orderings.

    >>> minhash = MinHash()
    >>> text = "one two three four five six seven eight nine"  # 5 n-grams
    >>> signature = minhash(text)
    >>> similarity(signature, minhash(text.upper() + "!")), similarity(signature, minhash("ten " * 9))
    (1.0, 0.0)
    """

    def __init__(self, *, bands: int = BANDS, rows: int = ROWS, n: int = NGRAM, seed: int = 1) -> None:
        if min(bands, rows, n) < 1:
            raise ValueError(f"bands={bands}, rows={rows} and n={n} must be at least 1")
        generator = np.random.RandomState(seed)  # sampled as in datasketch
        self.bands, self.rows, self.n = bands, rows, n
        self.a = generator.randint(0, 2**31, bands * rows, np.uint32) * np.uint32(2) + np.uint32(1)
        self.c = generator.randint(0, 2**32, bands * rows, np.uint32)

    def __call__(self, text: str) -> UInt32[np.ndarray, " P"]:
        """Compute the signature of a text."""
        return self._signature(plain_words(text))

    def signature(self, hashes: UInt32[np.ndarray, " N"]) -> UInt32[np.ndarray, " P"]:
        """Compute the smallest hash under each ordering; all bits are 1 if there are no hashes.

        Texts go through a version that needs less memory.
        """
        permuted = np.multiply.outer(_finalize(hashes), self.a) + self.c  # (N, P), modulo 2^32
        smallest: NDArray[np.uint32] = permuted.min(axis=0, initial=2**32 - 1)
        return smallest

    def _signature(self, words: list[str]) -> UInt32[np.ndarray, " P"]:
        return fast_signature(_finalize(_upper(ngram_hashes(words, self.n))), self.a, self.c)

    def keys(self, signature: UInt32[np.ndarray, "*N P"]) -> Int64[np.ndarray, "*N b"]:
        """Hash each band with its number; equal bands have equal keys.

        Among 10^8 documents, the probability that any two keys collide by chance is about 5%.
        """
        rows = signature.reshape(*signature.shape[:-1], self.bands, self.rows)
        keys: NDArray[np.uint64] = np.empty(rows.shape[:-1], np.uint64)
        keys[...] = np.arange(1, self.bands + 1)
        for i in range(self.rows):
            keys = (keys ^ (keys >> _29)) * _ODD + rows[..., i].astype(np.uint64)
        keys = (keys ^ (keys >> _29)) * _ODD
        signed: NDArray[np.int64] = keys.view(np.int64)  # as SQLite's integers
        return signed

    def keys_of(self, text: str) -> list[int]:
        """Compute the keys of a text; none if it has no words, so such texts are not duplicates."""
        words = plain_words(text)
        return self.keys(self._signature(words)).tolist() if words else []


def _finalize(h: UInt32[np.ndarray, " N"]) -> UInt32[np.ndarray, " N"]:
    """Apply MurmurHash3's 32-bit finalizer, a bijection that spreads similar numbers."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    mixed: NDArray[np.uint32] = h ^ (h >> np.uint32(16))
    return mixed


def _upper(hashes: UInt64[np.ndarray, " N"]) -> UInt32[np.ndarray, " N"]:
    """Return the upper halves: lower bits of a product modulo a power of 2 depend on fewer bits."""
    return (hashes >> np.uint64(32)).astype(np.uint32)


def similarity(a: UInt32[np.ndarray, " P"], b: UInt32[np.ndarray, " P"]) -> float:
    r"""Estimate the Jaccard similarity by the fraction of equal entries.

    The standard deviation of the estimate is $\sqrt{s(1-s)/P}$.

    >>> similarity(np.array([1, 2, 3, 4], np.uint32), np.array([1, 2, 3, 5], np.uint32))
    0.75
    """
    return float((a == b).mean())


def jaccard(a: str, b: str, n: int = NGRAM) -> float:
    """Compute the Jaccard similarity of the n-grams themselves, which `similarity` estimates.

    >>> jaccard("a b c d e f", "a b c d e g")  # abcde is common, bcdef and bcdeg are not
    0.333
    """
    A, B = (set(ngram_hashes(plain_words(text), n).tolist()) for text in (a, b))
    return len(A & B) / len(A | B) if A | B else 1.0


def match_probability(s: float, *, bands: int = BANDS, rows: int = ROWS) -> float:
    """Compute the probability that two documents of Jaccard similarity `s` agree in at least one band.

    >>> [round(match_probability(s), 2) for s in (0.5, 0.72, 0.8, 0.9)]
    [0.05, 0.65, 0.92, 1.0]
    """
    return 1 - (1 - s**rows) ** bands


def candidate_pairs(texts: list[str], minhash: MinHash | None = None) -> Iterator[tuple[int, int]]:
    """Find all pairs that agree in at least one band, in memory.

    Args:
        texts: Texts of the documents.
        minhash: MinHash to use; by default with 14 bands of 8 rows of word 5-grams.

    Yields:
        Indices `(i, j)` with `i < j`, each pair once, in ascending order.

    >>> list(candidate_pairs(["to be or not to be", "something else entirely", "To be, or not to be."]))
    [(0, 2)]
    """
    minhash = minhash or MinHash()
    groups: dict[int, list[int]] = {}
    for i, text in enumerate(texts):
        for key in minhash.keys_of(text):
            groups.setdefault(key, []).append(i)
    pairs = {(i, j) for group in groups.values() for at, i in enumerate(group) for j in group[at + 1 :]}
    yield from sorted(pairs)


class ExactDuplicates:
    """Drops exact duplicates of earlier texts, up to white space and Unicode normalization (NFC).

    >>> seen = ExactDuplicates(sqlite3.connect(":memory:"))
    >>> seen("One text."), seen("Another."), seen(" One  text.")
    (None, None, 'exact duplicate')
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.execute("CREATE TABLE IF NOT EXISTS exact (key BLOB PRIMARY KEY) WITHOUT ROWID")

    def __call__(self, text: str) -> str | None:
        """Return None and remember the text, or return the reason for dropping it."""
        normal = unicodedata.normalize("NFC", " ".join(text.split()))
        key = hashlib.sha256(normal.encode("utf-8", "surrogatepass")).digest()[:16]
        added = self.connection.execute("INSERT OR IGNORE INTO exact VALUES (?)", (key,)).rowcount
        return None if added else "exact duplicate"


class NearDuplicates:
    """Drops near duplicates: texts that agree in at least one band with an earlier text that was kept.

    >>> seen = NearDuplicates(sqlite3.connect(":memory:"))
    >>> seen("To be, or not to be, that is the question"), seen("to be or not to be: That is the question!")
    (None, 'near duplicate')
    """

    def __init__(self, connection: sqlite3.Connection, minhash: MinHash | None = None) -> None:
        self.connection = connection
        self.minhash = minhash or MinHash()
        connection.execute("CREATE TABLE IF NOT EXISTS bands (key INTEGER PRIMARY KEY)")
        self._find = f"SELECT 1 FROM bands WHERE key IN ({','.join('?' * self.minhash.bands)}) LIMIT 1"

    def __call__(self, text: str) -> str | None:
        """Return None and remember the text, or return the reason for dropping it."""
        keys = self.minhash.keys_of(text)
        if keys and self.connection.execute(self._find, keys).fetchone():
            return "near duplicate"
        self.connection.executemany("INSERT OR IGNORE INTO bands VALUES (?)", zip(keys, strict=True))
        return None
