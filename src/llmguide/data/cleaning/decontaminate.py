"""Decontamination: drop training documents that contain parts of a benchmark.

There are two published criteria: one shared 13-gram of words (GPT-3: Brown et al. 2020, arXiv:2005.14165,
appendix C), and 70% of the 8-grams of an item (PaLM: Chowdhery et al. 2022, arXiv:2204.02311, section 8). The
first has more false positives: a license or a proverb in one item is enough. The second misses a document
that contains only the start of an item. GPT-3 removed the passage and 200 characters around it; here the
whole document is dropped.

Words are compared in lower case without punctuation. Memory: 8 bytes per distinct n-gram of the benchmark (16
for fractions). Two n-grams collide with a probability of about 2^-64, unless their words do (2^-32 per word).

Leaves out: paraphrases and translations, which n-grams cannot find.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from llmguide.data.cleaning.dedup import ngram_hashes, plain_words


class SharedNgram:
    """The rule of GPT-3: drop documents that share an n-gram with a benchmark.

    Args:
        benchmarks: Items by the name of their benchmark; an item is its whole text, question and answer.
        n: Number of words of an n-gram. GPT-3 uses as few as 8 for benchmarks of short items, when it counts
            contaminated items.

    Raises:
        ValueError: No item of a benchmark has n words, so none could be found.

    >>> rule = SharedNgram({"riddles": ["What has four legs in the morning and two at noon?"]}, n=8)
    >>> rule("He asked: what has FOUR legs, in the morning and ...?"), rule("What has four legs? A table.")
    ('contains riddles', None)
    """

    def __init__(self, benchmarks: Mapping[str, Iterable[str]], *, n: int = 13) -> None:
        self.n = n
        self.too_short: dict[str, int] = {}
        """Items below n words, by benchmark: they are not protected."""
        self._known: dict[str, NDArray[np.uint64]] = {}
        for name, items in benchmarks.items():
            hashes, self.too_short[name] = _hashes(name, items, n)
            self._known[name] = np.unique(np.concatenate(hashes))

    def __call__(self, text: str) -> str | None:
        """Return None, or the name of the benchmark that the text contains a part of."""
        words = plain_words(text)
        if len(words) < self.n:
            return None
        found = ngram_hashes(words, self.n)
        return next(
            (f"contains {name}" for name, known in self._known.items() if _among(found, known).any()), None
        )


class SharedFraction:
    """The rule of PaLM: drop documents that contain a fraction of an item's n-grams.

    Args:
        benchmarks: Items by the name of their benchmark.
        n: Words of an n-gram.
        fraction: Smallest fraction of an item's distinct n-grams for which a document is dropped, 0 to 1.

    Raises:
        ValueError: No item of a benchmark has n words, so none could be found.

    >>> rule = SharedFraction({"letters": ["a b c d e f g h i j k"]})  # 4 8-grams, 70% are 3
    >>> rule("a b c d e f g h i"), rule("a b c d e f g h i j")
    (None, 'contains letters')
    """

    def __init__(self, benchmarks: Mapping[str, Iterable[str]], *, n: int = 8, fraction: float = 0.7) -> None:
        self.n, self.fraction = n, fraction
        self.too_short: dict[str, int] = {}
        """Items below n words, by benchmark: they are not protected."""
        self._known: dict[str, tuple[NDArray[np.uint64], NDArray[np.intp], NDArray[np.intp]]] = {}
        for name, items in benchmarks.items():
            by_item, self.too_short[name] = _hashes(name, items, n)
            sizes = np.array([len(hashes) for hashes in by_item])
            hashes, owners = np.concatenate(by_item), np.repeat(np.arange(len(sizes)), sizes)
            order = hashes.argsort()
            self._known[name] = hashes[order], owners[order], sizes

    def __call__(self, text: str) -> str | None:
        """Return None, or the name of the benchmark that the text contains an item of."""
        words = plain_words(text)
        if len(words) < self.n:
            return None
        found = np.unique(ngram_hashes(words, self.n))
        for name, (hashes, owners, sizes) in self._known.items():
            shared = np.bincount(owners[_among(hashes, found)], minlength=len(sizes))
            if (shared >= self.fraction * sizes).any():
                return f"contains {name}"
        return None


def _hashes(name: str, items: Iterable[str], n: int) -> tuple[list[NDArray[np.uint64]], int]:
    """Hash the distinct n-grams of each item that has any, and count the items that have none."""
    split = [plain_words(item) for item in items]
    hashes = [np.unique(ngram_hashes(words, n)) for words in split if len(words) >= n]
    if not hashes:
        raise ValueError(f"none of the {len(split)} items of {name} has n={n} words; take a smaller n")
    return hashes, len(split) - len(hashes)


def _among(hashes: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which of the hashes are in a sorted array; np.isin would sort it again."""
    at = ascending.searchsorted(hashes)
    at[at == len(ascending)] = 0
    found: NDArray[np.bool_] = ascending[at] == hashes
    return found
