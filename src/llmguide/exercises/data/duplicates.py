"""Exercises of near-duplicates: similarity, MinHash bands, candidates."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

from llmguide.exercises.definition import Arguments, Exercise, Mistake

# ---- duplicates ------------------------------------------------------------------------------------


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _similarity(a: list[str], b: list[str], n: int) -> float:
    A, B = set(_grams(a, n)), set(_grams(b, n))
    return len(A & B) / len(A | B)


def _of_counts(a: list[str], b: list[str], n: int) -> float:
    A, B = Counter(_grams(a, n)), Counter(_grams(b, n))
    return (A & B).total() / (A | B).total()


def _of_the_smaller(a: list[str], b: list[str], n: int) -> float:
    A, B = set(_grams(a, n)), set(_grams(b, n))
    return len(A & B) / min(len(A), len(B))


def _of_the_sum(a: list[str], b: list[str], n: int) -> float:
    A, B = set(_grams(a, n)), set(_grams(b, n))
    return len(A & B) / (len(A) + len(B))


def _match(s: float, bands: int, rows: int) -> float:
    """Compute `llmguide.data.cleaning.dedup.match_probability`, whose module needs SQLite."""
    return 1 - (1 - s**rows) ** bands


# ---- near-duplicates -------------------------------------------------------------------------------

Signatures = Sequence[Sequence[int]]
Pairs = list[tuple[int, int]]


def near_duplicates(
    signatures: Signatures,
    rows: int,
    *,
    band: Callable[[Sequence[int], int, int], Sequence[int]] = lambda s, i, n: s[i : i + n],
    numbered: bool = True,
    with_first: bool = False,
    once: bool = True,
    step: int | None = None,
) -> Pairs:
    """Find the pairs of signatures that agree in a band, with switches for the mistakes.

    >>> near_duplicates([[1, 2, 3, 4], [1, 2, 5, 6], [7, 8, 5, 6]], 2)
    [(0, 1), (1, 2)]
    """
    groups: dict[Any, list[int]] = {}
    for number, signature in enumerate(signatures):
        for i in range(0, len(signature) - rows + 1, step or rows):
            key = tuple(band(signature, i, rows))
            groups.setdefault((i, key) if numbered else key, []).append(number)
    pairs = [
        (group[at], j)
        for group in groups.values()
        for at in range(1 if with_first else len(group))
        for j in group[at + 1 :]
        if group[at] != j
    ]
    return sorted(set(pairs) if once else pairs)


def _all_pairs(signatures: Signatures, rows: int) -> Pairs:
    return [
        (i, j)
        for j, second in enumerate(signatures)
        for i, first in enumerate(signatures[:j])
        if any(first[at : at + rows] == second[at : at + rows] for at in range(0, len(first), rows))
    ]


class _Entry(int):
    """An entry of a signature that counts comparisons."""

    n_comparisons = 0

    def __eq__(self, other: object) -> bool:
        _Entry.n_comparisons += 1
        return int(self) == other

    __hash__ = int.__hash__


def _with_comparisons(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe the pairs, and whether the number of comparisons grows with the number of all pairs."""
    signatures, rows = arguments
    given = [list(map(_Entry, signature)) for signature in signatures]
    _Entry.n_comparisons = 0
    result = function(given, rows)
    limit = 12 * sum(map(len, signatures))  # enough to sort them
    return result, "too many comparisons" if _Entry.n_comparisons > limit else "few comparisons"


def _signature_probes() -> list[Arguments]:
    random = Random(0)
    probes: list[Arguments] = []
    for n, bands, rows in ((150, 4, 3), (200, 3, 2)):
        signatures = [[random.randrange(10**6) for _ in range(bands * rows)] for _ in range(n)]
        signatures[7] = [*signatures[2][:-1], 0]  # all bands but the last
        signatures[11][:rows] = signatures[30][:rows] = signatures[5][:rows]  # one band of three
        signatures[20][-rows:] = signatures[13][:rows]  # the same numbers in another band
        signatures[25][:: len(signatures[9])] = signatures[9][:: len(signatures[9])]  # a single entry
        signatures[26][::bands] = signatures[8][::bands]
        signatures[33] = signatures[34]
        signatures[36][1 : rows + 1] = signatures[35][1 : rows + 1]  # across the border of two bands
        probes.append((signatures, rows))
    return probes


EXERCISES = (
    Exercise(
        "similarity",
        "similarity(a, b, n): Jaccard similarity of two texts, which are lists of words: of the different "
        "n-grams (sequences of n words) in either text, the fraction that is in both.",
        _similarity,
        lambda: [
            (list("abcabdabc"), list("cabdd"), 2),
            (list("abcdef"), list("abcdeg"), 3),
            (["in", "side", "of", "it"], ["ins", "ide", "of", "it", "of"], 2),
        ],
        (
            Mistake(
                "words for sequences",
                "single words are compared, whatever n is",
                "Texts on one subject share words. Shared n-grams indicate a copy.",
                lambda a, b, n: _similarity(a, b, 1),
            ),
            Mistake(
                "counts for sets",
                "an n-gram counts as often as it occurs",
                "Take sets: a menu that is repeated on a page counts once.",
                _of_counts,
            ),
            Mistake(
                "divided by the smaller set",
                "the shared n-grams are divided by those of the shorter text",
                "That is containment: a quotation in a long text would score 1. Divide by the union.",
                _of_the_smaller,
            ),
            Mistake(
                "divided by both sizes",
                "the shared n-grams are counted twice in the denominator",
                "The union is smaller than the sum of the sizes. Two equal texts have the similarity 1.",
                _of_the_sum,
            ),
            Mistake(
                "Dice coefficient",
                "twice the shared n-grams are divided by the sum of both sizes",
                "That is the Dice coefficient. Jaccard similarity divides the shared n-grams by the union.",
                lambda a, b, n: 2 * _of_the_sum(a, b, n),
            ),
            Mistake(
                "last n-gram left out",
                "the last n-gram of each text is missing",
                "The last n-gram starts at position len(words) - n, which range(len(words) - n) leaves out.",
                lambda a, b, n: _similarity(a[:-1], b[:-1], n),
            ),
        ),
        ("There are len(words) - n + 1 sequences in a text.", "set has & and |."),
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "match-probability",
        "match_probability(s, bands, rows): the probability that two documents of similarity s agree in "
        "all rows of at least one band, if they agree in each row with probability s.",
        _match,
        lambda: [(0.8, 14, 8), (0.5, 4, 3), (0.9, 2, 5)],
        (
            Mistake(
                "bands and rows swapped",
                "the rows of a band and the number of bands change places",
                "All rows of one band agree with probability s to the power of rows. For at least one of the "
                "bands, use the complement.",
                lambda s, bands, rows: _match(s, rows, bands),
            ),
            Mistake(
                "probability of missing",
                "the result is the probability that no band agrees",
                "Subtract it from 1.",
                lambda s, bands, rows: 1 - _match(s, bands, rows),
            ),
            Mistake(
                "all bands",
                "every band has to agree",
                "One band is enough; that is how MinHash finds near copies.",
                lambda s, bands, rows: s ** (bands * rows),
            ),
            Mistake(
                "probabilities of the bands added",
                "the probabilities of the bands are added",
                "A sum counts a pair that agrees in two bands twice, and it can exceed 1.",
                lambda s, bands, rows: bands * s**rows,
            ),
        ),
        ("What is the probability that one band does not agree?", "The bands are independent."),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "near-duplicates",
        "near_duplicates(signatures, rows) returns the pairs of documents that MinHash takes for "
        "near-duplicates. signatures[i] is the list of smallest hashes of document i; all have the same "
        "length. The first `rows` entries of a signature are its band 0, the next ones its band 1, and so "
        "on. A pair is found if it agrees in all entries of at least one band with the same number. Return "
        "the sorted list of the pairs (i, j) with i < j, each once. Do not compare all pairs: the test "
        "counts the comparisons of entries, which must not grow with the square of the number of documents.",
        near_duplicates,
        _signature_probes,
        (
            Mistake(
                "all pairs compared",
                "every document is compared with every other",
                "The result is right, but a million documents have 500 billion pairs. Put equal bands into "
                "the same entry of a dict.",
                _all_pairs,
            ),
            Mistake(
                "one equal entry",
                "one equal entry is enough",
                "All entries of a band must agree. Use the whole band as the key.",
                lambda signatures, rows: near_duplicates(signatures, 1),
            ),
            Mistake(
                "all bands",
                "all bands must agree",
                "One band is enough, so that similar documents are found, not only equal ones.",
                lambda signatures, rows: near_duplicates(signatures, len(signatures[0])),
            ),
            Mistake(
                "bands mixed up",
                "a band can agree with a band of another number",
                "The number of the band belongs to the key: other bands have other hash functions.",
                partial(near_duplicates, numbered=False),
            ),
            Mistake(
                "pairs with the first only",
                "of several documents with an equal band, each is paired only with the first",
                "Three documents with an equal band make three pairs.",
                partial(near_duplicates, with_first=True),
            ),
            Mistake(
                "pair once for each band",
                "a pair that agrees in several bands is listed several times",
                "Collect the pairs in a set.",
                partial(near_duplicates, once=False),
            ),
            Mistake(
                "bands of distant entries",
                "band i has every n-th entry of the signature from entry i on",
                "A band has neighboring entries.",
                partial(near_duplicates, band=lambda s, i, n: s[i // n :: len(s) // n]),
            ),
            Mistake(
                "overlapping bands",
                "a band starts at every entry",
                "The next band starts where the one before has ended.",
                partial(near_duplicates, step=1),
            ),
        ),
        (
            "Which documents would you find in the same entry of a dict, and what is its key?",
            "Go through each band of each document, and append the document to the list under (number of the "
            "band, tuple of its entries).",
            "Every two documents of a list are a pair. A set removes the pairs that occur several times.",
        ),
        level="medium",
        minutes=20,
        after="This is locality-sensitive hashing. The look-ups grow with the number of documents, and only "
        "candidates are compared in full.",
        observe=_with_comparisons,
    ),
)
