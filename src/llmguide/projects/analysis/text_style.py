"""Measures of style that can be counted without a model or a dictionary.

| measure | is |
| --- | --- |
| words | number of words |
| words per sentence | mean number of words in a sentence |
| letters per word | mean number of letters in a word |
| lively sentences | fraction that end with a question or exclamation mark |
| variety | lexical diversity: moving-average type-token ratio over windows of 50 words (MATTR) |
| repetition | fraction of trigrams that occurred earlier in the text |

Readability formulas are built from words per sentence and letters per word. The plain type-token ratio falls
with the length of a text, whoever writes it; over windows of a fixed length, texts can be compared.

References: MATTR (Covington and McFall 2010, "Cutting the Gordian knot: the moving-average type-token
ratio"); repetition (Welleck et al. 2019, arXiv:1908.04319, seq-rep-n, here with n = 3).

Leaves out: parts of speech such as adjectives, and syllables, which need a tagger or a dictionary; both make
errors in verse.
"""

import itertools
import re
from collections.abc import Sequence
from statistics import fmean

from llmguide.data.cleaning.filters import sentences

WINDOW = 50  # words of a window
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_LIVELY = re.compile(r"[?!][\"'\u201d\u2019)\]]*\s*$")


def style(text: str) -> dict[str, float]:
    """Measure a text.

    Args:
        text: Text of any length; a measure that needs a longer text is 0.

    Returns:
        The measures by name.

    >>> found = style("Come here! The cat sat on the mat.")
    >>> found["words per sentence"], found["lively sentences"], found["letters per word"]
    (4.0, 0.5, 3.125)
    >>> found["variety"], found["repetition"]  # "the" twice in eight words
    (0.875, 0.0)
    """
    parts = [part for part in sentences(text) if _WORD.search(part)]
    found = words(text)
    if not found:
        return dict.fromkeys(
            ("words", "words per sentence", "letters per word", "lively sentences", "variety", "repetition"),
            0.0,
        )
    return {
        "words": float(len(found)),
        "words per sentence": len(found) / len(parts),
        "letters per word": fmean(sum(map(str.isalpha, word)) for word in found),
        "lively sentences": fmean(bool(_LIVELY.search(part)) for part in parts),
        "variety": variety(found),
        "repetition": repetition(found),
    }


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without numbers.

    >>> words("It's 5 o'clock.")
    ["it's", "o'clock"]
    """
    return _WORD.findall(text.lower())


def variety(found: Sequence[str], window: int = WINDOW) -> float:
    """Compute the moving-average type-token ratio (MATTR); a text shorter than the window is one window.

    >>> variety(["a", "b", "a"], window=2), variety(["a", "b", "a", "a"], window=2)
    (1.0, 0.8333333333333334)
    """
    size = min(window, len(found))
    runs = (found[first : first + size] for first in range(len(found) - size + 1))
    return fmean(len(set(run)) / size for run in runs)


def repetition(found: Sequence[str], n: int = 3) -> float:
    """Compute the fraction of n-grams that occurred earlier in the text.

    >>> repetition("to be or not to be or".split())  # of five, "to be or" came before
    0.2
    """
    runs = list(zip(*(found[i:] for i in range(n)), strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def distinct(texts: Sequence[str]) -> float:
    """Compute distinct-2: the fraction of the word bigrams of several texts that are distinct.

    It falls with the number of words, so compare equal amounts of text.

    Source: Li et al. 2015, arXiv:1510.03055, section 5.3.

    >>> distinct(["the cat sat", "the cat ran"])
    0.75
    """
    pairs = [pair for text in texts for pair in itertools.pairwise(words(text))]
    return len(set(pairs)) / len(pairs) if pairs else 0.0
