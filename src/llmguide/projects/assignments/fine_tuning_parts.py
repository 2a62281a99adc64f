"""Parts of the assignments on fine-tuning, and on a domain expert that abstains."""

from collections.abc import Sequence
from functools import partial
from math import exp

from llmguide.exercises.definition import Exercise, Mistake

# ---- fine-tuning -----------------------------------------------------------------------------------


def _best_step(
    losses: Sequence[float],
    patience: int,
    *,
    reset: bool = True,
    best: bool = True,
    best_at_end: bool = True,
    tie_replaces: bool = False,
    tie_resets: bool = False,
    previous: bool = False,
    more: int = 0,
) -> int:
    """Find the checkpoint that early stopping restores, with switches for the mistakes."""
    lowest, waited, i = 0, 0, 0
    for i, loss in enumerate(losses[1:], 1):
        is_tie = loss == losses[lowest]
        is_better = loss < losses[i - 1 if previous else lowest] or (is_tie and (tie_replaces or tie_resets))
        waited = waited * (not reset) if is_better else waited + 1
        if loss < losses[lowest] or (is_tie and tie_replaces):
            lowest = i
        if waited >= patience + more:
            return lowest if best else i
    return lowest if best and best_at_end else i


def _mixing_rates(sizes: Sequence[int], temperature: float) -> list[float]:
    powers = [size ** (1 / temperature) for size in sizes]
    return [power / sum(powers) for power in powers]


# ---- a domain expert -------------------------------------------------------------------------------

UNKNOWN = "I do not know that name."


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


def _easy_first(examples: Sequence[tuple[str, float]], step: int, n_steps: int) -> list[str]:
    """List the examples that a curriculum makes available at a step."""
    ordered = sorted(examples, key=lambda example: example[1])
    return [text for text, _ in ordered[: -(-len(ordered) * (step + 1) // n_steps)]]


def _hard_first(examples: Sequence[tuple[str, float]], step: int, n_steps: int) -> list[str]:
    return _easy_first([(text, -difficulty) for text, difficulty in examples], step, n_steps)


FINE_TUNING_PARTS = (
    Exercise(
        "best-step",
        "best_step(losses, patience) returns the index, from 0, of the evaluation whose checkpoint early "
        "stopping restores. `losses` has the validation loss of each evaluation. Training stops after "
        "`patience` evaluations in a row without a new lowest loss; the losses after that are never seen. If "
        "training does not stop early, all losses are seen. The checkpoint with the lowest loss seen is "
        "restored, and of equal losses the first.",
        _best_step,
        lambda: [
            ([3.0, 2.0, 2.1, 2.2, 1.0], 2),
            ([3.0, 3.1, 2.9, 3.0, 2.8, 2.9, 2.85], 2),
            ([2.0, 1.5, 1.2], 3),
            ([3.0, 2.0, 2.1, 2.2, 2.3, 1.0], 2),
            ([3.0, 1.0, 2.5, 2.0, 1.5, 0.5], 3),
            ([3.0, 2.0, 2.5], 2),
            ([2.0, 1.0, 1.0, 1.5, 0.5], 2),
            ([2.0, 1.0, 1.0], 3),
        ],
        (
            Mistake(
                "last instead of best",
                "the last checkpoint is restored",
                "The last evaluations were no better. Restore the checkpoint with the lowest loss.",
                partial(_best_step, best=False),
            ),
            Mistake(
                "looks beyond the stop",
                "the index of the lowest of all losses is returned, even if training stopped before it",
                "Ignore the losses after training has stopped.",
                lambda losses, patience: losses.index(min(losses)),
            ),
            Mistake(
                "patience not reset",
                "evaluations without improvement are counted over the whole run",
                "A new lowest loss resets the count to 0.",
                partial(_best_step, reset=False),
            ),
            Mistake(
                "stops one evaluation late",
                "training stops after patience + 1 evaluations without a new lowest loss",
                "Stop as soon as the count reaches `patience`.",
                partial(_best_step, more=1),
            ),
            Mistake(
                "stops one evaluation early",
                "training stops after patience - 1 evaluations without a new lowest loss",
                "The evaluation with the lowest loss itself does not count.",
                partial(_best_step, more=-1),
            ),
            Mistake(
                "compared with the loss before",
                "the count is reset whenever a loss is below the loss before it",
                "Only a new lowest loss resets the count.",
                partial(_best_step, previous=True),
            ),
            Mistake(
                "last of equal losses",
                "the last of equal losses counts as the lowest",
                "An equal loss is no new lowest loss: compare with <, not with <=.",
                partial(_best_step, tie_replaces=True),
            ),
            Mistake(
                "a tie resets the count",
                "a loss that equals the lowest loss resets the count",
                "An equal loss is no new lowest loss, so it is counted.",
                partial(_best_step, tie_resets=True),
            ),
            Mistake(
                "last if training does not stop early",
                "the last checkpoint is restored if training does not stop early",
                "The lowest loss can be an earlier one, even if training did not stop early.",
                partial(_best_step, best_at_end=False),
            ),
        ),
        ("Keep two numbers: the index of the lowest loss, and the number of evaluations since then.",),
    ),
    Exercise(
        "mixing-rates",
        "mixing_rates(sizes, temperature) returns the list of the probabilities of sampling from each data "
        "set. A probability is proportional to the size of the data set to the power 1 / temperature, and "
        "the probabilities sum to 1.",
        _mixing_rates,
        lambda: [([900, 100], 2.0), ([50, 50, 4000], 3.0), ([7, 3], 1.0)],
        (
            Mistake(
                "power upside down",
                "the sizes are raised to the temperature itself",
                "A high temperature makes the rates more equal, so the power is 1 / temperature.",
                lambda sizes, temperature: _mixing_rates(sizes, 1 / temperature),
            ),
            Mistake(
                "temperature ignored",
                "the rates are proportional to the sizes",
                "Raise each size to the power 1 / temperature first.",
                lambda sizes, temperature: _mixing_rates(sizes, 1.0),
            ),
            Mistake(
                "not normalized",
                "the rates do not sum to 1",
                "Divide each power by the sum of all powers.",
                lambda sizes, temperature: [size ** (1 / temperature) for size in sizes],
            ),
            Mistake(
                "softmax of the sizes",
                "the rates are a softmax of size / temperature, as for logits",
                "The sizes are counts, not logits: raise them to a power, and do not exponentiate them.",
                lambda sizes, temperature: [
                    1 / sum(exp(min((other - size) / temperature, 700)) for other in sizes) for size in sizes
                ],
            ),
        ),
        ("At temperature 2, the sizes 900 and 100 become 30 and 10, so the rates are 0.75 and 0.25.",),
    ),
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
                ["Paris", "Rome or Bern", f"{UNKNOWN} Perhaps Kyiv?", "I do not know.", UNKNOWN],
                ["Paris", "Bern", "Kyiv", None, None],
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
                "accuracy over all questions",
                "an abstention on an unanswerable question counts as a right answer in the accuracy",
                "The accuracy is about answerable questions; the abstention rate is about the others.",
                lambda answers, correct: (
                    sum(a == (c or UNKNOWN) for a, c in zip(answers, correct, strict=True)) / len(answers),
                    *_rates(answers, correct)[1:],
                ),
            ),
        ),
        ("First split the questions into answerable and unanswerable questions.",),
    ),
)
