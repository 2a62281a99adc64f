"""Exercises of training data and of scale: duplicates, packed rows, epochs, budgets, utilization."""

from collections import Counter
from math import exp

from llmguide.costs.scaling_laws import chinchilla_optimal, mfu, training_flops
from llmguide.exercises.grading import Exercise, Mistake

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


# ---- packed rows -----------------------------------------------------------------------------------


def _restarted(documents: list[int]) -> list[int]:
    return [position - documents.index(number) for position, number in enumerate(documents)]


def _late(documents: list[int]) -> list[int]:
    """Return positions that restart at the second token of a document."""
    found, position = [], 0
    for i, number in enumerate(documents):
        position = 0 if i > 1 and documents[i - 1] == number != documents[i - 2] else position
        found.append(position)
        position += 1
    return found


# ---- budgets ---------------------------------------------------------------------------------------


HALF_LIFE = 15.39  # R* of Muennighoff et al. 2023, rounded as the page prints it


def _worth(unique: float, epochs: float) -> float:
    return unique + unique * HALF_LIFE * (1 - exp(-(epochs - 1) / HALF_LIFE))


def _mfu(n_params: float, n_tokens: float, hours: float, peak: float) -> float:
    return mfu(training_flops(n_params, n_tokens), hours, peak_flops=peak)


EXERCISES = (
    Exercise(
        "similarity",
        "similarity(a, b, n): Jaccard similarity of two texts, which are lists of words: of the different "
        "n-grams (sequences of n words) in either text, the fraction that is in both.",
        _similarity,
        lambda: [
            (list("abcabdabc"), list("cabdd"), 2),
            (list("abcdef"), list("abcdeg"), 3),
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
        ),
        ("There are len(words) - n + 1 sequences in a text.", "set has & and |."),
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
    ),
    Exercise(
        "packed-positions",
        "positions(documents): the position, from 0, of each token of a packed sequence within its own "
        "document, given the document id of each token.",
        _restarted,
        lambda: [([0, 0, 0, 1, 1, 2],), ([4, 4, 7, 7, 7, 7, 8],)],
        (
            Mistake(
                "positions run on",
                "the positions are those in the row",
                "Only the first document of a sequence would ever use position 0.",
                lambda documents: list(range(len(documents))),
            ),
            Mistake(
                "from 1",
                "each document starts at 1",
                "The first token of a document has position 0.",
                lambda documents: [position + 1 for position in _restarted(documents)],
            ),
            Mistake(
                "restart one token late",
                "the first token of a document still counts as one of the document before",
                "Compare the document id with that of the token before, not with that of the next.",
                _late,
            ),
            Mistake(
                "counted from the end",
                "the last token of each document has position 0",
                "Count what comes before a token.",
                lambda documents: _restarted(documents[::-1])[::-1],
            ),
        ),
        ("Where does each document start?",),
    ),
    Exercise(
        "chinchilla",
        "chinchilla(flops) returns parameters N and tokens D that spend the budget 6 N D at 20 tokens "
        "per parameter.",
        chinchilla_optimal,
        lambda: [(1e21,), (5.76e23,)],
        (
            Mistake(
                "factor 6 forgotten",
                "the budget is N D instead of 6 N D",
                "Each parameter costs 2 FLOPs forward and 4 backward per token.",
                lambda flops: chinchilla_optimal(6 * flops),
            ),
            Mistake(
                "only the forward pass",
                "the budget is 2 N D, that of the forward pass",
                "The backward pass costs twice as much again.",
                lambda flops: chinchilla_optimal(3 * flops),
            ),
            Mistake(
                "tokens and parameters swapped",
                "there are 20 parameters for each token",
                "20 tokens per parameter: more tokens than parameters.",
                lambda flops: chinchilla_optimal(flops)[::-1],
            ),
        ),
        ("With D = 20 N the budget is 120 N squared.",),
    ),
    Exercise(
        "worth",
        "worth(unique, epochs): how many new tokens it is worth to read `unique` tokens for `epochs` epochs, "
        "with R* = 15.39. Each epoch is worth a little less than the one before.",
        _worth,
        lambda: [(100.0, 4.0), (2e9, 1.0), (5e10, 40.0)],
        (
            Mistake(
                "first reading counted as a repetition",
                "R is the number of epochs",
                "The first reading repeats nothing: R = epochs - 1.",
                lambda unique, epochs: _worth(unique, epochs + 1),
            ),
            Mistake(
                "repetitions as good as new",
                "every epoch counts in full",
                "That is the upper bound, which no text reaches.",
                lambda unique, epochs: unique * epochs,
            ),
            Mistake(
                "first reading forgotten",
                "only the repetitions are counted",
                "The first reading counts in full: the sum begins with U.",
                lambda unique, epochs: _worth(unique, epochs) - unique,
            ),
            Mistake(
                "decay without its scale",
                "the saturating part is not multiplied by R*",
                "Early repetitions are worth nearly 1 each: the slope at R = 0 is R* / R*.",
                lambda unique, epochs: unique + unique * (1 - exp(-(epochs - 1) / HALF_LIFE)),
            ),
        ),
        ("D' = U + U R* (1 - exp(-R / R*)), with R the repetitions.",),
    ),
    Exercise(
        "mfu",
        "mfu(n_params, n_tokens, hours, peak): model FLOPs utilization of a training run, from the "
        "device-hours that it took and the peak of one device in FLOP/s.",
        _mfu,
        lambda: [(7e9, 2e12, 184_320.0, 312e12), (1e9, 20e9, 300.0, 989e12)],
        (
            Mistake(
                "hours taken for seconds",
                "hours are used as if they were seconds",
                "The peak is per second, and an hour has 3,600 seconds.",
                lambda n, d, hours, peak: 3600 * _mfu(n, d, hours, peak),
            ),
            Mistake(
                "only the forward pass",
                "a token costs 2 FLOPs per parameter",
                "The backward pass costs 4 more.",
                lambda n, d, hours, peak: _mfu(n, d, hours, peak) / 3,
            ),
            Mistake(
                "upside down",
                "what the devices could do is divided by what the model needs",
                "Utilization is a fraction below 1.",
                lambda n, d, hours, peak: 1 / _mfu(n, d, hours, peak),
            ),
            Mistake(
                "recomputation counted",
                "the forward pass that checkpointing repeats is counted: 8 FLOPs per parameter",
                "The model does not need it. Hardware FLOPs utilization (HFU) counts it.",
                lambda n, d, hours, peak: 8 / 6 * _mfu(n, d, hours, peak),
            ),
        ),
        ("The model needs 6 N D.", "The devices could have done hours times 3,600 times peak."),
    ),
)
