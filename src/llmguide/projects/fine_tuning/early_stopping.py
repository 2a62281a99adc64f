"""Early stopping: train until the validation loss stops falling, and restore the best checkpoint.

Fine-tuning sees few examples many times. The training loss falls to the end; the held-out loss falls, and
then rises as the examples are memorized. Which step is the best one is only known some steps later, so
a checkpoint is kept for every evaluation that may still turn out to be it.

References: Prechelt 1998, "Early stopping, but when?"

Leaves out: several processes, of which only one has the logger that this watches with.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from llmguide.data.tokens.windows import Sequences
from llmguide.training import distributed
from llmguide.training.checkpoint import checkpoints, load, load_latest, step_of
from llmguide.training.config import TrainConfig
from llmguide.training.distributed import Loss
from llmguide.training.monitor import Logger, Loggers
from llmguide.training.run_state import Record
from llmguide.training.train import train
from llmguide.training.trainable import load_trainable_state


class Stopped(NamedTuple):
    """Result of a training with early stopping.

    Attributes:
        history: Metrics of each optimizer step.
        best: Step with the smallest validation loss, whose weights the model has.
    """

    history: list[Record]
    best: int


class _NoBetterError(Exception):
    """Raised in a logger to end the training."""


class Patience:
    """A logger that ends the training after so many evaluations without a new smallest loss.

    Args:
        patience: Number of evaluations, at least 1.
        history: Metrics of the steps before the run was resumed.

    >>> watch = Patience(2)
    >>> for step, loss in enumerate([3.0, 2.0, 2.5]):
    ...     watch.log(step, {"val_loss": loss})
    >>> watch.is_over
    False
    """

    def __init__(self, patience: int, history: Sequence[Record] = ()):
        if patience < 1:
            raise ValueError(f"patience={patience} must be at least 1: an evaluation has to follow the best")
        self.patience = patience
        self.best = inf
        self.since = 0
        for record in history:
            if record.val_loss is not None:
                self._see(record.val_loss)

    @property
    def is_over(self) -> bool:
        """Whether training should stop."""
        return self.since >= self.patience

    def log(self, _: int, values: dict[str, float]) -> None:
        """Compare a validation loss, if the metrics contain one, with the smallest.

        Raises:
            _NoBetterError: The step before was the last one; by now its checkpoint is written.
        """
        if self.is_over:
            raise _NoBetterError
        if "val_loss" in values:
            self._see(values["val_loss"])

    def text(self, _: int, __: str) -> None:
        """Ignore samples of text."""

    def _see(self, loss: float) -> None:
        self.since = 0 if loss < self.best else self.since + 1
        self.best = min(loss, self.best)


def train_with_patience(
    model: Any,
    data: Sequences,
    validation: Sequences,
    config: TrainConfig,
    *,
    patience: int,
    folder: Path,
    loss: Loss,
    logger: Logger | None = None,
) -> Stopped:
    """Train a model in place with early stopping, and restore its best checkpoint.

    Args:
        model: Model to train.
        data: Training data.
        validation: Validation data.
        config: Training configuration; a checkpoint is written at every evaluation.
        patience: Evaluations without a new smallest loss after which training stops.
        folder: Folder of the checkpoints, from which a killed run resumes.
        loss: Loss function.
        logger: Logger of the metrics.

    Returns:
        The history and the best step.

    Raises:
        ValueError: Several processes train.
    """
    if distributed.world().size > 1:
        raise ValueError("early stopping watches a single process: start it without torchrun")
    config = replace(config, checkpoint_every=config.eval_every, keep_last=patience + 1)
    before = _history(folder)
    watch = Patience(patience, before)
    if not watch.is_over and len(before) < config.n_steps:
        both = watch if logger is None else Loggers(watch, logger)
        with suppress(_NoBetterError):
            train(model, data, config, validation=validation, folder=folder, loss=loss, logger=both)
    history = _history(folder)
    losses = {record.step: record.val_loss for record in history if record.val_loss is not None}
    best = min(losses, key=losses.__getitem__)
    kept = next(path for path in checkpoints(folder) if step_of(path) == best)
    state = load(kept)
    load_trainable_state(model, state["model"], state.get("frozen"), of=kept)
    return Stopped(history, best)


def _history(folder: Path) -> list[Record]:
    state = load_latest(folder)
    return [] if state is None else [Record(*row) for row in state["history"]]
