"""How the projects build and train their models: every training is a resumable stage of a run."""

from collections.abc import Sequence
from typing import Any

import torch

from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.projects.run import DIGITS, Run
from llmguide.runs.lifecycle import loggers
from llmguide.training.config import TrainConfig
from llmguide.training.run_state import Record
from llmguide.training.train import TrainResult, train

POINTS = 60  # most points of a loss curve in a record: enough to see its shape


def small_decoder(
    vocab_size: int,
    context_length: int,
    *,
    n_layers: int,
    d_model: int,
    n_heads: int,
    dropout: float = 0.0,
) -> ModelConfig:
    """Return the configuration of the projects' models: LLaMA's, with a feed-forward width of 8/3 d_model.

    >>> small_decoder(97, 128, n_layers=4, d_model=128, n_heads=4).n_params()
    804096
    """
    return ModelConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        d_ff=-(-8 * d_model // 3 // 8) * 8,
        positions="rope",
        norm="rmsnorm",
        activation="swiglu",
        bias=False,
        dropout=dropout,
    )


def new_decoder(run: Run, vocab_size: int) -> Any:
    """Build a model of the plan's sizes from the run's seed, on the run's device.

    Args:
        run: Run whose plan has ``context_length``, ``n_layers``, ``d_model``, ``n_heads`` and, optionally,
            ``dropout``.
        vocab_size: Number of token ids.
    """
    plan = run.plan
    sizes = {name: getattr(plan, name) for name in ("n_layers", "d_model", "n_heads")}
    config = small_decoder(vocab_size, plan.context_length, **sizes, dropout=getattr(plan, "dropout", 0.0))
    torch.manual_seed(run.seed)
    return build(config).to(run.device)


def stage_config(run: Run, n_steps: int, lr: float, **changes: Any) -> TrainConfig:
    """Return the training configuration of a stage.

    Args:
        run: Run whose plan has ``batch_size`` and ``context_length``.
        n_steps: Number of optimizer steps.
        lr: Peak learning rate.
        changes: Other fields of `TrainConfig`, in place of the projects' defaults.
    """
    defaults: dict[str, Any] = {
        "context_length": run.plan.context_length,
        "batch_size": run.plan.batch_size,
        "optimizer": "muon",
        "log_every": max(1, n_steps // 20),
        "checkpoint_every": max(1, n_steps // 10),
        "seed": run.seed,
    }
    return TrainConfig(n_steps=n_steps, lr=lr, **(defaults | changes))


def train_stage(
    run: Run, name: str, model: Any, data: Any, config: TrainConfig, **options: Any
) -> TrainResult:
    """Train a model in place, with checkpoints and logs in the folder of the run.

    Args:
        run: Run that the stage belongs to.
        name: Name of the stage, and of its folders under ``checkpoints`` and ``logs``.
        model: Model to train; moved to the run's device.
        data: Training data, as `llmguide.training.train.train` takes them.
        config: Training configuration, such as `stage_config` returns.
        options: Keyword arguments of `llmguide.training.train.train`, such as ``loss``.
    """
    return train(
        model.to(run.device),
        data,
        config,
        folder=run.output / "checkpoints" / name,
        logger=loggers(run.output / "logs" / name),
        **options,
    )


def loss_curve(history: Sequence[Record]) -> dict[str, list[float]]:
    """Downsample a training history: the loss averaged over intervals, and every validation loss.

    >>> history = [Record(i, float(i), 0.1, 1.0, 9.0, val_loss=0.5 if i == 4 else None) for i in range(1, 5)]
    >>> loss_curve(history)
    {'step': [1, 2, 3, 4], 'loss': [1.0, 2.0, 3.0, 4.0], 'val_step': [4], 'val_loss': [0.5]}
    """
    size = -(-len(history) // POINTS)
    intervals = [history[first : first + size] for first in range(0, len(history), size)]
    evaluated = [record for record in history if record.val_loss is not None]
    return {
        "step": [interval[-1].step for interval in intervals],
        "loss": [round(sum(record.loss for record in part) / len(part), DIGITS) for part in intervals],
        "val_step": [record.step for record in evaluated],
        "val_loss": [round(record.val_loss or 0.0, DIGITS) for record in evaluated],
    }
