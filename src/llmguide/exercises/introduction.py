"""Exercises of the introduction: counts, bits, power laws."""

import math
from collections.abc import Sequence

from llmguide.exercises.grading import Exercise, Mistake


def follows(text: str, context: str, letter: str) -> float:
    """How often a letter comes next where a context stands and something follows.

    >>> follows("the thin then", "th", "e")  # of three places, two
    0.667
    """
    n = len(context)
    after = [text[i + n] for i in range(len(text) - n) if text[i : i + n] == context]
    return after.count(letter) / len(after)


_FOLLOWS = Exercise(
    "follows",
    "follows(text, context, letter): of the places in a text where the context stands and a letter comes "
    "after it, the share at which it is this letter.",
    follows,
    lambda: [("aaabaaacaa", "aa", "a"), ("the cat, then that moth", "th", "e"), ("banana", "an", "a")],
    (
        Mistake(
            "context at the end counted",
            "the context at the very end of the text is counted, after which nothing comes",
            "The shares of all letters that follow have to add up to 1.",
            lambda text, context, letter: (
                follows(text, context, letter)
                * (n := sum(text.startswith(context, i) for i in range(len(text) - len(context))))
                / (n + text.endswith(context))
            ),
        ),
        Mistake(
            "overlapping places missed",
            "places that overlap are counted once, as str.count does",
            "In aaa the context aa stands twice. Look at every position.",
            lambda text, context, letter: text.count(context + letter) / text[:-1].count(context),
        ),
        Mistake(
            "joint instead of conditional",
            "the count is divided by the number of all positions",
            "That is the probability of context and letter together. Divide by the count of the context.",
            lambda text, context, letter: (
                sum(text.startswith(context + letter, i) for i in range(len(text)))
                / (len(text) - len(context))
            ),
        ),
        Mistake(
            "letter before",
            "the letter before the context is looked at",
            "The letter after it stands at position i + len(context).",
            lambda text, context, letter: follows(text[::-1], context[::-1], letter),
        ),
    ),
    (
        "Collect the letter after each place where the context stands.",
        "text[i : i + n] == context, for i in range(len(text) - n).",
    ),
)


def smooth(count: int, total: int, share: float, n_letters: int) -> float:
    """Probability of a letter that was counted, with a small share for each letter of the alphabet.

    >>> smooth(0, 98, 1.0, 2), smooth(98, 98, 1.0, 2)  # the two letters of this alphabet
    (0.01, 0.99)
    """
    return (count + share) / (total + share * n_letters)


_SMOOTH = Exercise(
    "smooth",
    "smooth(count, total, share, n_letters): the probability of a letter that came `count` of `total` "
    "times, if each of the `n_letters` letters is counted `share` times more than it came.",
    smooth,
    lambda: [(0, 10, 0.5, 4), (7, 10, 0.01, 27), (3, 3, 1.0, 2)],
    (
        Mistake(
            "total not raised",
            "the total stays as it was",
            "Add up the probabilities of the whole alphabet: they have to make 1.",
            lambda count, total, share, n_letters: (count + share) / total,
        ),
        Mistake(
            "share added once",
            "the total is raised by one share",
            "Every letter of the alphabet gets a share, those that never came included.",
            lambda count, total, share, n_letters: (count + share) / (total + share),
        ),
        Mistake(
            "not smoothed",
            "the share is not used",
            "A count of 0 would cost infinitely many bits.",
            lambda count, total, share, n_letters: count / total,
        ),
        Mistake(
            "share for the unseen only",
            "only a letter that never came gets a share",
            "Then the probabilities add up to more than 1 or less. Treat all letters alike.",
            lambda count, total, share, n_letters: (count or share) / (total + share * n_letters),
        ),
    ),
    ("As if the text went on, and every letter came `share` times in what was added.",),
)


def bits(probabilities: Sequence[float]) -> float:
    """Mean cost of letters in bits, from the probability that each was given.

    >>> bits([0.5, 0.125])  # 1 bit and 3 bits
    2.0
    """
    return -sum(math.log2(p) for p in probabilities) / len(probabilities)


_BITS = Exercise(
    "bits",
    "bits(probabilities): the mean cost of letters, in bits, from the probability that a model gave to each.",
    bits,
    lambda: [([0.5, 0.125],), ([0.9, 0.01, 0.3],), ([1.0, 0.25],)],
    (
        Mistake(
            "nats for bits",
            "the logarithm is the natural one",
            "A letter of probability 1/2 costs one bit: use log2.",
            lambda probabilities: bits(probabilities) * math.log(2),
        ),
        Mistake(
            "sign",
            "the minus is missing",
            "Logarithms of probabilities are negative, costs are not.",
            lambda probabilities: -bits(probabilities),
        ),
        Mistake(
            "sum for mean",
            "the costs are added up and not divided by their number",
            "A longer text would be a worse one.",
            lambda probabilities: bits(probabilities) * len(probabilities),
        ),
        Mistake(
            "logarithm of the mean",
            "the probabilities are averaged first",
            "One letter that was thought impossible has to cost a lot. Take the logarithm of each.",
            lambda probabilities: -math.log2(sum(probabilities) / len(probabilities)),
        ),
    ),
    ("A letter of probability p costs -log2(p) bits.",),
)


def times_more(exponent: float, share: float) -> float:
    """Factor on a quantity that lowers a loss of quantity ** -exponent by a share.

    >>> times_more(0.5, 0.5)  # half the loss: four times the quantity
    4.0
    """
    return float((1 - share) ** (-1 / exponent))


_TIMES_MORE = Exercise(
    "times-more",
    "times_more(exponent, share): a loss falls as quantity ** -exponent. By which factor must the "
    "quantity grow to lower the loss by this share?",
    times_more,
    lambda: [(0.05, 0.1), (0.076, 0.1), (0.5, 0.5)],
    (
        Mistake(
            "share that is left",
            "the loss falls to the share instead of by it",
            "Lower by a tenth leaves 0.9 of it.",
            lambda exponent, share: share ** (-1 / exponent),
        ),
        Mistake(
            "factor below 1",
            "the sign of the exponent is lost",
            "A lower loss needs more: the factor is above 1.",
            lambda exponent, share: (1 - share) ** (1 / exponent),
        ),
        Mistake(
            "exponent not inverted",
            "the share that is left is raised to the exponent itself",
            "Solve factor ** -exponent = 1 - share for the factor.",
            lambda exponent, share: (1 - share) ** -exponent,
        ),
        Mistake(
            "straight line for a power",
            "the loss is taken to fall in proportion",
            "On logarithmic axes the law is a straight line, on ordinary ones it flattens.",
            lambda exponent, share: 1 + share / exponent,
        ),
    ),
    ("Write down the loss before and after, and divide.", "factor ** -exponent = 1 - share."),
)


EXERCISES = (
    _FOLLOWS,
    _SMOOTH,
    _BITS,
    _TIMES_MORE,
)
