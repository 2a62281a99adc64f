r"""BM25: passages ranked by the words that they share with a question, the rare ones counting most.

$$s(q, d) = \sum_{w \in q} \ln\Big(1 + \frac{N - n_w + 0.5}{n_w + 0.5}\Big)
\cdot \frac{f_{wd}}{f_{wd} + k_1 (1 - b + b \, |d| / \overline{|d|})}$$

The first factor is large for a word that few passages have; the second grows with each occurrence, ever more
slowly, and less in a long passage, where a word occurs more easily by chance.

| symbol | meaning |
| --- | --- |
| $N$, $n_w$ | passages, those with the word $w$ |
| $f_{wd}$ | occurrences of $w$ in the passage $d$ |
| $|d|$ | words of $d$; with a bar, their mean |
| $k_1$, $b$ | how soon occurrences saturate, 1.5; how much length counts, 0.75 |

References: Robertson & Zaragoza 2009, "The probabilistic relevance framework: BM25 and beyond"; with
Lucene's idf, which is never negative, and without the constant factor $k_1 + 1$, which changes no ranking.

What counts as a word decides as much as the formula: `terms` leaves out the words that only make a sentence
and cuts endings. "How", "do" and "I" are frequent in questions and so rare in documentation that, without
that, they would weigh more than what is asked about.

Leaves out: a real stemmer, such as Porter's of 1980.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
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
    """Words that say what a text is about, without their endings.

    >>> terms("How do I delete the listed files?"), terms("deleting a file of a list")
    (['delet', 'list', 'fil'], ['delet', 'fil', 'list'])
    >>> terms("copy copies copied class classes")
    ['copi', 'copi', 'copi', 'class', 'class']
    """
    words = (_ENDING.sub("", word) for word in plain_words(text) if word not in _STOP)
    return [re.sub("y$", "i", _VOWEL.sub("", word)) for word in words]


class BM25:
    """The words of some passages, ready to be compared with questions.

    Args:
        texts: Texts of the passages.

    >>> found = BM25(["a red fox", "a red hen", "an old dog"]).scores("red fox")
    >>> [round(float(score), 3) for score in found]  # 0.4 ln(8/3) and 0.4 ln(8/5)
    [0.58, 0.188, 0.0]
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(terms(text)) for text in texts]
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
        """Score each passage; a word that the question has twice counts twice."""
        found = np.zeros(self._n_texts)
        for word in terms(question):
            if word in self._weights:
                rows, weights = self._weights[word]
                found[rows] += weights
        return found
