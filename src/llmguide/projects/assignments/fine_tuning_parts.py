"""Parts of the assignments on fine-tuning."""

from collections.abc import Sequence
from functools import partial
from math import exp

from llmguide.exercises.definition import Exercise, Mistake


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
)
