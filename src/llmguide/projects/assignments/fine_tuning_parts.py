"""Parts of the assignments on fine-tuning, and on an expert that abstains."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from llmguide.exercises.grading import Exercise, Mistake, noise

# ---- fine-tuning -----------------------------------------------------------------------------------


def _merge(W: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    return W + alpha / len(A) * B @ A


def _best_step(losses: Sequence[float], patience: int, *, reset: bool = True, best: bool = True) -> int:
    """Find the checkpoint that early stopping restores, with switches for the mistakes."""
    lowest, waited, i = 0, 0, 0
    for i, loss in enumerate(losses[1:], 1):
        if loss < losses[lowest]:
            lowest, waited = i, waited * (not reset)
        else:
            waited += 1
        if waited >= patience:
            break
    return lowest if best else i


def _mixing_rates(sizes: Sequence[int], temperature: float) -> list[float]:
    powers = [size ** (1 / temperature) for size in sizes]
    return [power / sum(powers) for power in powers]


# ---- a domain expert -------------------------------------------------------------------------------

UNKNOWN = "I do not know."


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
    """List the examples that a curriculum has opened."""
    ordered = sorted(examples, key=lambda example: example[1])
    return [text for text, _ in ordered[: -(-len(ordered) * (step + 1) // n_steps)]]


def _hard_first(examples: Sequence[tuple[str, float]], step: int, n_steps: int) -> list[str]:
    return _easy_first([(text, -difficulty) for text, difficulty in examples], step, n_steps)


FINE_TUNING_PARTS = (
    Exercise(
        "merge-lora",
        "merge(W, A, B, alpha): the weight (out, in) of a linear layer with its LoRA adapter merged: A is "
        "(r, in), B is (out, r), and the scale is alpha / r.",
        _merge,
        lambda: [(noise(1, 4, 3), noise(2, 2, 3), noise(3, 4, 2), 6.0)],
        (
            Mistake(
                "scale forgotten",
                "the product of the adapter is added without the scale",
                "Multiply by alpha / r, as in the forward pass.",
                lambda W, A, B, alpha: W + B @ A,
            ),
            Mistake(
                "not divided by the rank",
                "the scale is alpha",
                "alpha / r, so that one alpha fits several ranks.",
                lambda W, A, B, alpha: W + alpha * B @ A,
            ),
            Mistake(
                "adapter alone",
                "the base weight is lost",
                "Add the update to W.",
                lambda W, A, B, alpha: _merge(0 * W, A, B, alpha),
            ),
        ),
        ("The merged layer must give the same output as the layer with its adapter.",),
    ),
    Exercise(
        "best-step",
        "best_step(losses, patience): the index of the evaluation whose checkpoint early stopping restores. "
        "Training stops after `patience` evaluations in a row without a new lowest validation loss; later "
        "losses are never seen.",
        _best_step,
        lambda: [
            ([3.0, 2.0, 2.1, 2.2, 1.0], 2),
            ([3.0, 3.1, 2.9, 3.0, 2.8, 2.9, 2.85], 2),
            ([2.0, 1.5, 1.2], 3),
        ],
        (
            Mistake(
                "last instead of best",
                "the last checkpoint is restored",
                "The last evaluations were no better: restore the lowest one.",
                partial(_best_step, best=False),
            ),
            Mistake(
                "looks beyond the stop",
                "the lowest of all losses is returned",
                "Training has stopped by then.",
                lambda losses, patience: losses.index(min(losses)),
            ),
            Mistake(
                "patience not reset",
                "evaluations without improvement are counted over the whole run",
                "A new lowest loss sets the count back to 0.",
                partial(_best_step, reset=False),
            ),
        ),
        ("Keep two numbers: the best index, and the evaluations since.",),
    ),
    Exercise(
        "mixing-rates",
        "mixing_rates(sizes, temperature): the probability of sampling from each data set: proportional to "
        "its size to the power 1 / temperature.",
        _mixing_rates,
        lambda: [([900, 100], 2.0), ([50, 50, 4000], 3.0), ([7, 3], 1.0)],
        (
            Mistake(
                "power upside down",
                "the sizes are raised to the temperature itself",
                "A high temperature makes the data sets more equal: 1 / temperature.",
                lambda sizes, temperature: _mixing_rates(sizes, 1 / temperature),
            ),
            Mistake(
                "temperature ignored",
                "the data sets are mixed in proportion to their sizes",
                "Raise each size to the power 1 / temperature first.",
                lambda sizes, temperature: _mixing_rates(sizes, 1.0),
            ),
            Mistake(
                "not normalized",
                "the rates do not sum to 1",
                "Divide by their sum.",
                lambda sizes, temperature: [size ** (1 / temperature) for size in sizes],
            ),
        ),
        ("At temperature 2, 900 and 100 become 30 and 10.",),
    ),
    Exercise(
        "easy-first",
        "easy_first(examples, step, n_steps): a curriculum. examples are (text, difficulty). Return the "
        "texts "
        "that step number `step`, from 0, may sample: the easiest ones, easiest first. Their number grows "
        "evenly to all of them in the last step, and is rounded up.",
        _easy_first,
        lambda: [
            ([("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 4.0), ("e", 9.0)], step, 4) for step in (0, 1, 3)
        ],
        (
            Mistake(
                "hard examples first",
                "the most difficult examples come first",
                "Sort by increasing difficulty.",
                _hard_first,
            ),
            Mistake(
                "not sorted",
                "the examples come in the order of the file",
                "Sort by the difficulty.",
                lambda examples, step, n_steps: _easy_first([(t, 0.0) for t, _ in examples], step, n_steps),
            ),
            Mistake(
                "all from the start",
                "every step samples from all examples",
                "Open len(examples) * (step + 1) / n_steps of them.",
                lambda examples, step, n_steps: _easy_first(examples, n_steps - 1, n_steps),
            ),
        ),
        ("math.ceil(len(examples) * (step + 1) / n_steps)",),
    ),
    Exercise(
        "abstention-rates",
        "rates(answers, correct): three fractions that describe an expert: accuracy on answerable questions, "
        "over-refusal (answerable questions that get 'I do not know.'), and abstention (unanswerable "
        "questions that get it). correct[i] is None for an unanswerable question.",
        _rates,
        lambda: [
            (
                ["Paris", UNKNOWN, "Rome", UNKNOWN, "x", UNKNOWN, "y"],
                ["Paris", "Oslo", "Bern", None, None, None, "y"],
            )
        ],
        (
            Mistake(
                "over all questions",
                "each count is divided by the number of all questions",
                "Divide by the answerable questions, or by the unanswerable ones.",
                partial(_rates, known_only=False),
            ),
            Mistake(
                "over-refusal and abstention swapped",
                "the second and the third fraction are swapped",
                "Over-refusal is about answerable questions.",
                partial(_rates, over=False),
            ),
        ),
        ("Split the questions into answerable and unanswerable ones first.",),
    ),
)
