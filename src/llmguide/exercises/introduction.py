"""Exercises of the introduction: counts, bits, power laws."""

import math
from collections.abc import Sequence

from llmguide.exercises.grading import Exercise, Mistake

# ---- counting --------------------------------------------------------------------------------------


def follows(text: str, context: str, letter: str) -> float:
    """Estimate the probability that a letter follows a context, from counts in a text.

    >>> follows("the thin then", "th", "e")  # of three places, two
    0.667
    """
    n = len(context)
    after = [text[i + n] for i in range(len(text) - n) if text[i : i + n] == context]
    return after.count(letter) / len(after)


def smooth(count: int, total: int, share: float, n_letters: int) -> float:
    """Compute the smoothed probability of a letter, with a pseudocount for each letter of the alphabet.

    >>> smooth(0, 98, 1.0, 2), smooth(98, 98, 1.0, 2)  # the two letters of this alphabet
    (0.01, 0.99)
    """
    return (count + share) / (total + share * n_letters)


# ---- measuring -------------------------------------------------------------------------------------


def bits(probabilities: Sequence[float]) -> float:
    """Compute the cross-entropy in bits from the probability that a model gave to each letter.

    >>> bits([0.5, 0.125])  # 1 bit and 3 bits
    2.0
    """
    return -sum(math.log2(p) for p in probabilities) / len(probabilities)


# ---- scaling ---------------------------------------------------------------------------------------


def times_more(exponent: float, share: float) -> float:
    """Compute the factor on a quantity that lowers a loss of quantity ** -exponent by a fraction.

    >>> times_more(0.5, 0.5)  # half the loss: four times the quantity
    4.0
    """
    return float((1 - share) ** (-1 / exponent))


EXERCISES = (
    Exercise(
        "follows",
        "follows(text, context, letter) returns a fraction. Of all positions in the text where the context "
        "occurs and another character follows it, at what fraction is this character `letter`?",
        follows,
        lambda: [("aaabaaacaa", "aa", "a"), ("the cat, then that moth", "th", "e"), ("banana", "an", "a")],
        (
            Mistake(
                "context at the end counted",
                "an occurrence of the context at the end of the text is counted, although nothing follows it",
                "The fractions of all letters that follow must sum to 1.",
                lambda text, context, letter: (
                    follows(text, context, letter)
                    * (n := sum(text.startswith(context, i) for i in range(len(text) - len(context))))
                    / (n + text.endswith(context))
                ),
            ),
            Mistake(
                "overlapping places missed",
                "overlapping occurrences are counted once, as str.count does",
                "The context aa occurs twice in aaa. Check every position.",
                lambda text, context, letter: text.count(context + letter) / text[:-1].count(context),
            ),
            Mistake(
                "joint instead of conditional",
                "the count is divided by the number of all positions",
                "That is the joint probability of context and letter. Divide by the count of the context.",
                lambda text, context, letter: (
                    sum(text.startswith(context + letter, i) for i in range(len(text)))
                    / (len(text) - len(context))
                ),
            ),
            Mistake(
                "letter before",
                "the letter before the context is used",
                "The letter after it is at position i + len(context).",
                lambda text, context, letter: follows(text[::-1], context[::-1], letter),
            ),
        ),
        (
            "Collect the letter after each occurrence of the context.",
            "text[i : i + n] == context, for i in range(len(text) - n).",
        ),
    ),
    Exercise(
        "smooth",
        "smooth(count, total, share, n_letters): the probability of a letter that occurred `count` of "
        "`total` times, if each of the `n_letters` letters gets a pseudocount of `share`.",
        smooth,
        lambda: [(0, 10, 0.5, 4), (7, 10, 0.01, 27), (3, 3, 1.0, 2)],
        (
            Mistake(
                "total not raised",
                "the total is not increased",
                "Add up the probabilities of the whole alphabet: they must sum to 1.",
                lambda count, total, share, n_letters: (count + share) / total,
            ),
            Mistake(
                "share added once",
                "the total is increased by one pseudocount",
                "Every letter of the alphabet gets a pseudocount, including those that never occurred.",
                lambda count, total, share, n_letters: (count + share) / (total + share),
            ),
            Mistake(
                "not smoothed",
                "the pseudocount is not used",
                "A count of 0 would cost infinitely many bits.",
                lambda count, total, share, n_letters: count / total,
            ),
            Mistake(
                "share for the unseen only",
                "only a letter that never occurred gets a pseudocount",
                "Then the probabilities do not sum to 1. Treat all letters alike.",
                lambda count, total, share, n_letters: (count or share) / (total + share * n_letters),
            ),
        ),
        ("Pretend that every letter occurred `share` more times.",),
    ),
    Exercise(
        "bits",
        "bits(probabilities): the cross-entropy in bits per letter, from the probability that a model gave "
        "to each letter that occurred.",
        bits,
        lambda: [([0.5, 0.125],), ([0.9, 0.01, 0.3],), ([1.0, 0.25],)],
        (
            Mistake(
                "nats for bits",
                "the natural logarithm is used",
                "A letter of probability 1/2 costs one bit: use log2.",
                lambda probabilities: bits(probabilities) * math.log(2),
            ),
            Mistake(
                "sign",
                "the minus is missing",
                "The logarithm of a probability is negative or 0; the cost is not negative.",
                lambda probabilities: -bits(probabilities),
            ),
            Mistake(
                "sum for mean",
                "the costs are summed and not divided by their number",
                "Then a longer text would always cost more.",
                lambda probabilities: bits(probabilities) * len(probabilities),
            ),
            Mistake(
                "logarithm of the mean",
                "the probabilities are averaged first",
                "A letter with a tiny probability must cost a lot. Take each logarithm first.",
                lambda probabilities: -math.log2(sum(probabilities) / len(probabilities)),
            ),
        ),
        ("A letter of probability p costs -log2(p) bits.",),
    ),
    Exercise(
        "times-more",
        "times_more(exponent, share): a loss falls as quantity ** -exponent. By what factor must the "
        "quantity grow to lower the loss by the fraction `share`?",
        times_more,
        lambda: [(0.05, 0.1), (0.076, 0.1), (0.5, 0.5)],
        (
            Mistake(
                "share that is left",
                "the loss falls to the fraction instead of by it",
                "A loss lowered by a tenth is 0.9 of what it was.",
                lambda exponent, share: share ** (-1 / exponent),
            ),
            Mistake(
                "factor below 1",
                "the sign of the exponent is missing",
                "A lower loss needs a larger quantity, so the factor is above 1.",
                lambda exponent, share: (1 - share) ** (1 / exponent),
            ),
            Mistake(
                "exponent not inverted",
                "the remaining fraction is raised to the exponent itself",
                "Solve factor ** -exponent = 1 - share for the factor.",
                lambda exponent, share: (1 - share) ** -exponent,
            ),
            Mistake(
                "straight line for a power",
                "the loss is assumed to fall linearly",
                "On logarithmic axes the law is a straight line; on ordinary axes it flattens.",
                lambda exponent, share: 1 + share / exponent,
            ),
        ),
        ("Write down the loss before and after, and divide.", "factor ** -exponent = 1 - share."),
    ),
)
