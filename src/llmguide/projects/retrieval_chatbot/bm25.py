r"""BM25: passages ranked by the words that they share with a question; rare words count most.

$$s(q, d) = \sum_{w \in q} \ln\Big(1 + \frac{N - n_w + 0.5}{n_w + 0.5}\Big)
\cdot \frac{f_{wd}}{f_{wd} + k_1 (1 - b + b \, |d| / \overline{|d|})}$$

The first factor, the idf, is large for a word in few passages. The second grows with each occurrence, but
saturates, and is smaller in a long passage, where a word occurs more easily by chance.

| symbol | meaning |
| --- | --- |
| $N$, $n_w$ | number of passages, number with the word $w$ |
| $f_{wd}$ | occurrences of $w$ in the passage $d$ |
| $|d|$ | number of words of $d$; with a bar, its mean |
| $k_1$, $b$ | saturation of term frequency, 1.5; strength of length normalization, 0.75 |

References: Robertson & Zaragoza 2009, "The probabilistic relevance framework: BM25 and beyond"; with
Lucene's idf, which is never negative, and without the constant factor $k_1 + 1$, which changes no ranking.

The choice of terms matters as much as the formula: `terms` removes stop words and strips endings. "How", "do"
and "I" are frequent in questions but so rare in documentation that they would otherwise outweigh the words
that matter.

Leaves out: a real stemmer, such as Porter's of 1980.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from math import log

import numpy as np
from jaxtyping import Float

from llmguide.data.cleaning.dedup import plain_words

K1, B = 1.5, 0.75
_STOP = frozenset(
    plain_words(
        "a an the this that these those there here it its he she they them we us our you your i me my mine "
        "how what why which when who where whose do does did can could may might should would will shall "
        "am is are was were be been being has have had of to in on at by from into for with about as than "
        "and or so then if not no any some such only"
    )
)
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|(?<!s)s)$")
_VOWEL = re.compile(r"(?<=\w{3})e$")


def terms(text: str) -> list[str]:
    """Return the terms of a text: its words without stop words and endings.

    >>> terms("How do I delete the listed files?"), terms("deleting a file of a list")
    (['delet', 'list', 'fil'], ['delet', 'fil', 'list'])
    >>> terms("copy copies copied class classes")
    ['copi', 'copi', 'copi', 'class', 'class']
    """
    words = (_ENDING.sub("", word) for word in plain_words(text) if word not in _STOP)
    return [re.sub("y$", "i", _VOWEL.sub("", word)) for word in words]


class BM25:
    """A BM25 index of passages.

    Args:
        texts: Passages to rank.
        split: Function that splits a passage or a question into its terms.

    >>> found = BM25(["a red fox", "a red hen", "an old dog"]).scores("red fox")
    >>> [round(float(score), 3) for score in found]  # 0.4 ln(8/3) and 0.4 ln(8/5)
    [0.58, 0.188, 0.0]
    """

    def __init__(self, texts: Sequence[str], split: Callable[[str], Sequence[str]] = terms) -> None:
        self._split = split
        counts = [Counter(split(text)) for text in texts]
        lengths = np.array([count.total() for count in counts], dtype=float)
        damping = K1 * (1 - B + B * lengths / max(1.0, lengths.mean())) if texts else lengths
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row, count in enumerate(counts):
            for word, n in count.items():
                found[word].append((row, n))
        self._n_texts = len(texts)
        self._weights = {}
        for word, occurrences in found.items():
            rows, n = np.array(occurrences).T
            rarity = log(1 + (len(texts) - len(rows) + 0.5) / (len(rows) + 0.5))
            self._weights[word] = rows, rarity * n / (n + damping[rows])

    def scores(self, question: str) -> Float[np.ndarray, " N"]:
        """Return the BM25 score of each passage; a word that the question has twice counts twice."""
        found = np.zeros(self._n_texts)
        for word in self._split(question):
            if word in self._weights:
                rows, weights = self._weights[word]
                found[rows] += weights
        return found
