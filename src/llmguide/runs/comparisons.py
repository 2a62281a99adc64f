"""Read human comparisons of two responses, and report the accuracy of a model on them."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from llmguide.data.fetch import PACKAGES
from llmguide.evaluation.metrics import wilson_interval
from llmguide.post_training.datasets import TextPair, comparisons
from llmguide.post_training.preferences.baselines import Scorer, accuracy_interval, bag_of_words, verdicts
from llmguide.post_training.preferences.corpora import divide, hh_pairs, sentiment_pairs
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import write_report
from llmguide.runs.options import ComparisonData
from llmguide.runs.tables import Columns, Table, percentage, show


def load_pairs(source: ComparisonData, *, seed: int) -> tuple[list[TextPair], list[TextPair]]:
    """Read comparisons, and split them into training and held-out ones that share no text or conversation."""
    data, n_pairs, held_out = source.data, source.n_pairs, source.held_out
    assert data is not None
    if data == "vader":
        say(f"{PACKAGES['vader-ratings'].attribution}; license: {PACKAGES['vader-ratings'].license}")
        pairs = sentiment_pairs("train", n_pairs, held_out=held_out, seed=seed)
        return pairs, sentiment_pairs("validation", max(1, n_pairs // 2), held_out=held_out, seed=seed)
    seen, unseen = divide(hh_pairs() if data == "hh" else comparisons(data, report=say), held_out=held_out)
    if not seen or not unseen:
        raise ValueError(
            f"{data} gives {len(seen)} pairs for training and {len(unseen)} held out, split by their first "
            f"message with --held-out {held_out}; give more pairs"
        )
    return seen, unseen


def with_baselines(
    pairs: Sequence[TextPair], words: Scorer, name: str, right: Sequence[float]
) -> dict[str, Sequence[float]]:
    """Return the results of a system on pairs, beside simple baselines and any second panel of raters."""
    systems: dict[str, Sequence[float]] = {
        "longer wins": verdicts(pairs, len),
        "words (Bradley-Terry)": verdicts(pairs, words),
        name: right,
    }
    second_panel = [pair.seconded for pair in pairs]
    return systems if any(map(isnan, second_panel)) else systems | {"people, a second panel": second_panel}


def report_accuracy(
    output: Path,
    name: str,
    right: Sequence[float],
    train_pairs: Sequence[TextPair],
    held_out: Sequence[TextPair],
) -> None:
    """Print and save held-out accuracy, beside simple baselines and a second panel of raters.

    Args:
        output: Run folder.
        name: Name of the system.
        right: Result of each held-out pair: 1, 0 or 0.5.
        train_pairs: Comparisons that it was trained on.
        held_out: Held-out comparisons.
    """
    systems = with_baselines(held_out, bag_of_words(train_pairs), name, right)
    units = [pair.units for pair in held_out]
    intervals = {system: accuracy_interval(values, units) for system, values in systems.items()}
    rows = [{"system": system, **interval._asdict()} for system, interval in intervals.items()]
    naive = wilson_interval(sum(right), len(right))
    n_units = len({unit for pair in units for unit in pair})
    notes = [
        f"{len(held_out):,} held-out pairs of {n_units:,} texts or conversations, none trained on; 95% "
        "bootstrap intervals over these.",
        f"As if pairs were independent, the {name}'s would be {naive.low:.1%} to {naive.high:.1%}.",
    ]
    columns: Columns = {"system": str, "score": percentage, "low": percentage, "high": percentage}
    show(Table("held-out accuracy", columns, rows, notes), as_json=False)
    write_report(output, {"accuracy": rows, "n_pairs": len(held_out), "n_units": n_units})
    say(f"\nsee the curves:  tensorboard --logdir {output / 'logs'}")
