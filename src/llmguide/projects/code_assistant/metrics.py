"""Measures of code completion, and the baselines."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from llmguide.coding.patterns.dynamic import edit_distance
from llmguide.data.documents import Document
from llmguide.evaluation.metrics import bootstrap_interval, wilson_interval
from llmguide.projects.code_assistant.code import Cursor, parses, places

N_COUNTED = 1_000  # training lines whose rests are counted


def most_frequent_rest(documents: Sequence[Document]) -> str:
    """Return the most frequent rest of a line in training documents."""
    rests = Counter(place.rest.strip() for place in places(documents, N_COUNTED, seed=0))
    return rests.most_common(1)[0][0]


def gain(texts: Sequence[str], others: Sequence[str], cursors: Sequence[Cursor]) -> dict[str, float]:
    """Return how much more similar to the original one list of completions is, with its interval."""
    gains = [
        similarity(text, place.rest) - similarity(other, place.rest)
        for text, other, place in zip(texts, others, cursors, strict=True)
    ]
    return bootstrap_interval(gains)._asdict()


def score(texts: Sequence[str], cursors: Sequence[Cursor]) -> dict[str, Any]:
    """Compare completions with the original code.

    Returns:
        The exact-match rate with its interval, the mean similarity, and the fraction of files that parse with
        the completion inserted.
    """
    exact = sum(text.strip() == place.rest.strip() for text, place in zip(texts, cursors, strict=True))
    whole = [
        p.file[: p.at] + text + p.file[p.at + len(p.rest) :] for text, p in zip(texts, cursors, strict=True)
    ]
    return {
        "exact": wilson_interval(exact, len(cursors))._asdict(),
        "similarity": fmean(similarity(text, p.rest) for text, p in zip(texts, cursors, strict=True)),
        "parses": fmean(map(parses, whole)),
    }


def similarity(a: str, b: str) -> float:
    """Compute the edit similarity of two lines: 1 minus the edit distance relative to the longer one.

    >>> similarity("kitten", "sitting")  # three edits, of seven characters
    0.5714285714285714
    >>> similarity(" x ", "x"), similarity("", "")
    (1.0, 1.0)
    """
    a, b = a.strip(), b.strip()
    return 1 - edit_distance(a, b) / max(len(a), len(b), 1)


def copied(before: str, corpus: str) -> str:
    r"""Copy the rest of a line from the last place where the longest suffix of a text occurs in a corpus.

    >>> copied("y = f(", "x = f(1)\nz = f(2)\n")
    '2)'
    """
    low, high = 0, len(before)  # length of the suffix: occurs, may occur
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before[len(before) - middle :] in corpus else (low, middle - 1)
    if not low:
        return ""
    start = corpus.rfind(before[len(before) - low :]) + low
    end = corpus.find("\n", start)
    return corpus[start:end] if end >= 0 else corpus[start:]
