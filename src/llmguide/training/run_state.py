"""The state of a training run: the metrics of its steps, its place in the data, and its checkpoints."""

import warnings
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from llmguide.config.model_config import ModelConfig
from llmguide.training import distributed_checkpoint
from llmguide.training.checkpoint import random_state, set_random_state
from llmguide.training.config import TrainConfig
from llmguide.training.optimizer_state import load_named_state, named_state
from llmguide.training.trainable import fingerprint, load_trainable_state, trainable_state


class Record(NamedTuple):
    """Metrics of one optimizer step.

    Attributes:
        step: Number of the step, from 1.
        loss: Mean training loss over its targets, before the update.
        lr: Learning rate of the update.
        grad_norm: Norm of the gradient before clipping.
        tokens_per_s: Targets per second, excluding evaluation and saving; with data of another unit, such as
            preference pairs, these per second.
        val_loss: Mean validation loss after the update; None if it was not evaluated.
        mfu: Model FLOPs utilization, counting targets only; None if the peak is unknown.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens_per_s: float
    val_loss: float | None = None
    mfu: float | None = None

    def values(self, unit: str = "tokens") -> dict[str, float]:
        """Return the metrics that were measured, by name; the speed is named by its unit."""
        names = {"tokens_per_s": f"{unit}_per_s"}
        measured = {name: value for name, value in self._asdict().items() if value is not None}
        return {names.get(name, name): value for name, value in measured.items() if name != "step"}


@dataclass
class RunState:
    """What a run has done so far, besides the weights and the optimizer state."""

    history: list[Record] = field(default_factory=list)
    position: int = 0  # number of sequences taken from the data
    n_tokens: int = 0
    pinned: list[int] = field(default_factory=list)  # steps of the checkpoints before loss spikes


def save(
    folder: str | Path, run: RunState, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig
) -> None:
    """Write a checkpoint with everything that the run needs to continue."""
    state = {
        "model": trainable_state(model),
        "frozen": fingerprint(model),
        "model_config": _model_config(model),
        "optimizer": named_state(optimizer),
        "random": random_state(),
        "history": [tuple(record) for record in run.history],
        "position": run.position,
        "n_tokens": run.n_tokens,
        "pinned": run.pinned,
        "config": asdict(config),
    }
    step = len(run.history)
    distributed_checkpoint.save(folder, state, step=step, keep_last=config.keep_last, pinned=run.pinned)


def _model_config(model: nn.Module) -> dict[str, Any] | None:
    """Return the sizes of a model, with which its checkpoint can be opened before the run ends."""
    config = getattr(model, "config", None)
    return asdict(config) if isinstance(config, ModelConfig) else None


def resume(
    folder: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig
) -> RunState:
    """Load the newest intact checkpoint of the folder, if any; a changed config is warned about."""
    state = distributed_checkpoint.load_latest(folder, model)
    if state is None:
        return RunState()
    changed = [
        f"{each.name}={getattr(config, each.name)!r} (was {state['config'].get(each.name)!r})"
        for each in fields(config)
        if getattr(config, each.name) != state["config"].get(each.name)
    ]
    if changed:
        warnings.warn(f"the run in {folder} continues with {', '.join(changed)}", stacklevel=3)
    load_trainable_state(model, state["model"], state.get("frozen"), of=folder)
    load_named_state(optimizer, state["optimizer"])
    set_random_state(state["random"])
    history = [Record(*row) for row in state["history"]]
    return RunState(history, state["position"], state["n_tokens"], state["pinned"])
