"""`top_ngram` and `duplicate_ngrams` of `llmguide.data.cleaning.repetition`, with numpy, for long texts.

An n-gram can repeat only where the (n-1)-grams at the same and at the next position repeat. So repeated
n-grams are found by extending repeated (n-1)-grams, and ordinary text costs little beyond n = 3.
"""

import itertools
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray


class FastRepetition:
    """Measures the repeated n-grams of a text; call its methods with ascending n.

    Args:
        words: Words of the text.
    """

    def __init__(self, words: list[str]) -> None:
        ids: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        self._word_ends = np.concatenate([[0], lengths.cumsum()])  # characters in the first 0, 1, ... words
        self._n = 1
        self._n_words = len(words)
        self._ids = _repeated(np.fromiter(map(ids.__getitem__, words), np.intp, len(words)))

    def top_ngram(self, n: int) -> int:
        """Compute `llmguide.data.cleaning.repetition.top_ngram`."""
        ids = self._ngrams(n)
        if not len(ids):
            return 0
        at, count = 0, 1
        places = np.flatnonzero(ids >= 0)
        if len(places):
            _, first, counts = np.unique(ids[places], return_index=True, return_counts=True)
            count = int(counts.max())
            at = int(places[first[counts == count].min()])
        return (int(self._word_ends[at + n] - self._word_ends[at]) + n - 1) * count

    def duplicate_ngrams(self, n: int) -> int:
        """Compute `llmguide.data.cleaning.repetition.duplicate_ngrams`."""
        ids = self._ngrams(n)
        seen: set[int] = set()
        n_characters = free = 0
        places = np.flatnonzero(ids >= 0)
        lengths = self._word_ends[places + n] - self._word_ends[places]
        for at, number, length in zip(places.tolist(), ids[places].tolist(), lengths.tolist(), strict=True):
            if at < free:
                continue
            if number in seen:
                n_characters += length
                free = at + n
            else:
                seen.add(number)
        return n_characters

    def _ngrams(self, n: int) -> NDArray[np.intp]:
        """Number the n-grams that occur more than once; -1 marks those that occur once."""
        while self._n < n:
            ids = self._ids
            extendable = np.flatnonzero((ids[:-1] >= 0) & (ids[1:] >= 0))
            # wider than an index, which has 32 bits in the browser
            pairs = ids[extendable].astype(np.int64) * (self._n_words + 1) + ids[extendable + 1]
            longer = np.full(max(len(ids) - 1, 0), -1)
            longer[extendable] = np.unique(pairs, return_inverse=True)[1]
            self._ids, self._n = _repeated(longer), self._n + 1
        return self._ids


def _repeated(ids: NDArray[np.intp]) -> NDArray[np.intp]:
    """Replace the numbers that occur once by -1."""
    counts = np.bincount(ids[ids >= 0])
    repeated = ids >= 0
    repeated[repeated] = counts[ids[repeated]] > 1
    return np.where(repeated, ids, -1)
