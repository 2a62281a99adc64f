"""Exercises of the introduction: counts in a text."""

from llmguide.exercises.definition import Exercise, Mistake


def follows(text: str, context: str, letter: str) -> float:
    """Estimate the probability that a letter follows a context, from counts in a text.

    >>> follows("the thin then", "th", "e")  # of three places, two
    0.667
    """
    n = len(context)
    after = [text[i + n] for i in range(len(text) - n) if text[i : i + n] == context]
    return after.count(letter) / len(after)


def smooth(count: int, total: int, pseudocount: float, n_letters: int) -> float:
    """Compute the smoothed probability of a letter, with a pseudocount for each letter of the alphabet.

    >>> smooth(0, 98, 1.0, 2), smooth(98, 98, 1.0, 2)  # the two letters of this alphabet
    (0.01, 0.99)
    """
    return (count + pseudocount) / (total + pseudocount * n_letters)


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
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "smooth",
        "smooth(count, total, pseudocount, n_letters): the probability of a letter that occurred `count` of "
        "`total` times, if `pseudocount` is added to the count of each of the `n_letters` letters.",
        smooth,
        lambda: [(0, 10, 0.5, 4), (7, 10, 0.01, 27), (3, 3, 1.0, 2)],
        (
            Mistake(
                "total not raised",
                "the total is not increased",
                "Add up the probabilities of the whole alphabet: they must sum to 1.",
                lambda count, total, pseudocount, n_letters: (count + pseudocount) / total,
            ),
            Mistake(
                "pseudocount added once",
                "the total is increased by one pseudocount",
                "Every letter of the alphabet gets a pseudocount, including those that never occurred.",
                lambda count, total, pseudocount, n_letters: (count + pseudocount) / (total + pseudocount),
            ),
            Mistake(
                "not smoothed",
                "the pseudocount is not used",
                "A count of 0 would cost infinitely many bits.",
                lambda count, total, pseudocount, n_letters: count / total,
            ),
            Mistake(
                "pseudocount for the unseen only",
                "only a letter that never occurred gets a pseudocount",
                "Then the probabilities do not sum to 1. Treat all letters alike.",
                lambda count, total, pseudocount, n_letters: (
                    (count or pseudocount) / (total + pseudocount * n_letters)
                ),
            ),
        ),
        ("Pretend that every letter occurred `pseudocount` more times.",),
        level="warm-up",
        minutes=5,
    ),
)
