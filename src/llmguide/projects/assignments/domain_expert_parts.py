"""Parts of the assignment on a domain expert that abstains."""

from collections.abc import Sequence
from functools import partial
from math import ceil

from llmguide.exercises.definition import Exercise, Mistake
from llmguide.projects.domain_expert.templates import UNKNOWN


def _rates(
    answers: Sequence[str], correct: Sequence[str | None], *, over: bool = True, known_only: bool = True
) -> tuple[float, float, float]:
    """Measure accuracy, over-refusal and abstention, with switches for the mistakes."""
    rows = list(zip(answers, correct, strict=True))
    known = [(a, c) for a, c in rows if c is not None]
    unknown = [a for a, c in rows if c is None]
    n = len(known) if known_only else len(rows)
    accuracy = sum(a == c for a, c in known) / n
    refused = sum(a == UNKNOWN for a, _ in known) / n
    abstained = sum(a == UNKNOWN for a in unknown) / (len(unknown) if known_only else n)
    return (accuracy, refused, abstained) if over else (accuracy, abstained, refused)


def _answered(answers: Sequence[str], correct: Sequence[str | None]) -> list[tuple[str, str | None]]:
    """Return the questions that are unanswerable, or answered with something else than an abstention."""
    return [(a, c) for a, c in zip(answers, correct, strict=True) if c is None or a != UNKNOWN]


def _easy_first(examples: Sequence[tuple[str, float]], step: int, n_steps: int) -> list[str]:
    """List the examples that a curriculum makes available at a step."""
    ordered = sorted(examples, key=lambda example: example[1])
    return [text for text, _ in ordered[: -(-len(ordered) * (step + 1) // n_steps)]]


def _hard_first(examples: Sequence[tuple[str, float]], step: int, n_steps: int) -> list[str]:
    return _easy_first([(text, -difficulty) for text, difficulty in examples], step, n_steps)


DOMAIN_EXPERT_PARTS = (
    Exercise(
        "easy-first",
        "easy_first(examples, step, n_steps) returns the list of the texts that a curriculum makes available "
        "at a step, easiest first. `examples` is a list of pairs (text, difficulty). At step `step`, counted "
        "from 0, the easiest (step + 1) / n_steps of the examples are available, and their number is rounded "
        "up. Examples of equal difficulty keep their order.",
        _easy_first,
        lambda: [
            *(([("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 4.0), ("e", 9.0)], step, 4) for step in (0, 1, 3)),
            ([("d", 2.0), ("c", 1.0), ("b", 1.0), ("a", 2.0)], 2, 4),
            ([(f"text {i}", float(i)) for i in range(25)], 6, 25),  # 7 / 25 * 25 is above 7 in floating point
        ],
        (
            Mistake(
                "hard examples first",
                "the most difficult examples come first",
                "Sort the examples by increasing difficulty.",
                _hard_first,
            ),
            Mistake(
                "not sorted",
                "the examples are in their original order",
                "Sort the examples by difficulty.",
                lambda examples, step, n_steps: _easy_first([(t, 0.0) for t, _ in examples], step, n_steps),
            ),
            Mistake(
                "all from the start",
                "all examples are available at every step",
                "Only len(examples) * (step + 1) / n_steps examples are available, rounded up.",
                lambda examples, step, n_steps: _easy_first(examples, n_steps - 1, n_steps),
            ),
            Mistake(
                "steps counted from 1",
                "step / n_steps of the examples are available, so that the first step has none",
                "Steps are counted from 0: the fraction is (step + 1) / n_steps.",
                lambda examples, step, n_steps: _easy_first(examples, step - 1, n_steps),
            ),
            Mistake(
                "rounded down",
                "the number of examples is rounded down",
                "Round up with math.ceil, so that the first step has an example.",
                lambda examples, step, n_steps: _easy_first(examples, n_steps - 1, n_steps)[
                    : len(examples) * (step + 1) // n_steps
                ],
            ),
            Mistake(
                "rounded before it is multiplied",
                "(step + 1) / n_steps is computed first, so that a rounding error of it adds an example",
                "In floating point, 7 / 25 * 25 is above 7. Multiply first, then divide.",
                lambda examples, step, n_steps: _easy_first(examples, n_steps - 1, n_steps)[
                    : ceil((step + 1) / n_steps * len(examples))
                ],
            ),
            Mistake(
                "ties in the order of the texts",
                "examples of equal difficulty are sorted by their text",
                "Sort by difficulty alone: sorted keeps the order of equal keys.",
                lambda examples, step, n_steps: _easy_first(sorted(examples), step, n_steps),
            ),
        ),
        ("The number of examples is math.ceil(len(examples) * (step + 1) / n_steps).",),
    ),
    Exercise(
        "abstention-rates",
        "rates(answers, correct) returns a tuple of three fractions: the accuracy on answerable questions, "
        "the over-refusal rate and the abstention rate. An abstention is exactly the answer 'I do not know "
        "that name.' The over-refusal rate is the fraction of answerable questions with an abstention; the "
        "abstention rate is the fraction of unanswerable questions with one. correct[i] is the correct "
        "answer to question i, or None if the question is unanswerable. An answer is right if it equals the "
        "correct answer. There are questions of both kinds.",
        _rates,
        lambda: [
            (
                ["Paris", UNKNOWN, "Rome", UNKNOWN, "x", UNKNOWN, "y"],
                ["Paris", "Oslo", "Bern", None, None, None, "y"],
            ),
            (
                [
                    "Paris",
                    "Rome or Bern",
                    f"{UNKNOWN} Perhaps Kyiv?",
                    "I do not know.",
                    UNKNOWN,
                    UNKNOWN.lower(),
                ],
                ["Paris", "Bern", "Kyiv", None, None, None],
            ),
        ],
        (
            Mistake(
                "over all questions",
                "each count is divided by the number of all questions",
                "Divide by the number of answerable questions, or by the number of unanswerable questions.",
                partial(_rates, known_only=False),
            ),
            Mistake(
                "over-refusal and abstention swapped",
                "the second and the third fraction are swapped",
                "The over-refusal rate is about answerable questions. It is the second fraction.",
                partial(_rates, over=False),
            ),
            Mistake(
                "contained instead of equal",
                "an answer is right if it contains the correct one",
                "Compare with ==. A model could name several answers, or hedge.",
                lambda answers, correct: _rates(
                    [c if c and c in a else a for a, c in zip(answers, correct, strict=True)], correct
                ),
            ),
            Mistake(
                "abstentions by their beginning",
                "every answer that begins with 'I do not know' is an abstention",
                "An abstention is exactly the sentence of the task.",
                lambda answers, correct: _rates(
                    [UNKNOWN if a.startswith(UNKNOWN[:13]) else a for a in answers], correct
                ),
            ),
            Mistake(
                "abstention counted as right",
                "an abstention on an unanswerable question counts as a right answer in the accuracy",
                "The accuracy is about answerable questions; the abstention rate is about the others.",
                lambda answers, correct: (
                    sum(a == (c or UNKNOWN) for a, c in zip(answers, correct, strict=True)) / len(answers),
                    *_rates(answers, correct)[1:],
                ),
            ),
            Mistake(
                "accuracy over all questions",
                "the right answers are divided by the number of all questions",
                "The accuracy is about answerable questions: divide by their number.",
                lambda answers, correct: (
                    _rates(answers, correct, known_only=False)[0],
                    *_rates(answers, correct)[1:],
                ),
            ),
            Mistake(
                "accuracy without abstentions",
                "the right answers are divided by the number of answerable questions without an abstention",
                "An answerable question with an abstention is not answered right, but it counts.",
                lambda answers, correct: (
                    _rates(*zip(*_answered(answers, correct), strict=True))[0],
                    *_rates(answers, correct)[1:],
                ),
            ),
        ),
        ("First split the questions into answerable and unanswerable questions.",),
    ),
)
