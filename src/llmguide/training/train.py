r"""The training loop: take steps, evaluate, save checkpoints, log, and resume where a crash ended the run.

A run is a function of the model, the data, the config and the random state at its start: every batch follows
from a position and a seed. A checkpoint holds the rest, so a run that was killed and started again ends with
the weights of one that was not, bit for bit on a CPU (on a GPU with `torch.use_deterministic_algorithms`).

Under `torchrun`, the same call trains in several processes; see `llmguide.training.distributed`.

Glossary: ``B`` sequences, ``T`` tokens of a sequence, ``N`` tokens of a corpus.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor, nn

from llmguide.arguments import check_type
from llmguide.data.tokens.windows import Sequences, Windows
from llmguide.models.decoder_protocol import require_own
from llmguide.training import distributed
from llmguide.training.activation_checkpointing import training_blocks
from llmguide.training.checkpoint import random_state, set_random_state
from llmguide.training.config import TrainConfig
from llmguide.training.distributed import Loss
from llmguide.training.divergence import DivergenceGuard
from llmguide.training.interrupts import interrupts
from llmguide.training.locks import locked
from llmguide.training.losses import batch_loss
from llmguide.training.monitor import Console, Logger
from llmguide.training.optimizers import make_optimizer
from llmguide.training.run_state import Record, RunState, resume, save
from llmguide.training.step import evaluate, train_step
from llmguide.training.torch_data import (
    BatchLoader,
    DatasetSequences,
    Item,
    ItemDataset,
    LoaderSequences,
    as_batch,
    is_map_style,
)
from llmguide.training.utilization import utilization

Data = Integer[Tensor, " _N"] | Integer[np.ndarray, " _N"] | Sequences | ItemDataset[Item] | BatchLoader


@dataclass(frozen=True)
class TrainResult:
    """Metrics of the whole run, including the steps before a resume.

    Attributes:
        history: Metrics of every step.
        n_tokens: Number of targets trained on; a target used twice counts twice.

    >>> from llmguide import TrainResult
    >>> TrainResult(history=[], n_tokens=0).best_val_loss is None  # nothing was validated
    True
    """

    history: list[Record]
    n_tokens: int

    @property
    def loss(self) -> float:
        """Training loss of the last step."""
        return self.history[-1].loss

    @property
    def best_val_loss(self) -> float | None:
        """Smallest validation loss, or None without validation data."""
        return min((record.val_loss for record in self.history if record.val_loss is not None), default=None)


def train(
    model: nn.Module,
    data: Data,
    config: TrainConfig,
    *,
    validation: Data | None = None,
    folder: str | Path | None = None,
    loss: Loss = batch_loss,
    logger: Logger | None = None,
    sample: Callable[[nn.Module], str] | None = None,
    peak_flops: float | None = None,
) -> TrainResult:
    """Train a model, in place; it is left in training mode.

    Args:
        model: Model from ids ``(B, T)`` to logits ``(B, T, V)``. Batches are moved to its device.
        data: Token ids of one long text, a source of batches, or a `torch.utils.data.Dataset` or
            `DataLoader` (see `llmguide.training.torch_data` for their items and for resuming). A loader's
            batches must have `config.batch_size` sequences. A source whose loss counts something else than
            tokens names it in its ``unit``, such as ``"pairs"``, for the speed in logs.
        config: Training hyperparameters.
        validation: Held-out data, evaluated every `config.eval_every` steps and at the end; of a data loader,
            the batches of one pass.
        folder: Checkpoint folder. If it holds checkpoints, the run continues from the newest intact one.
            Ctrl-C and SIGTERM then end the run after the current step, with a checkpoint.
        loss: Loss to minimize, by default the mean cross-entropy of the next token: a function from the model
            and a batch to the mean loss and the number of targets.
        logger: Logger of the metrics of every `config.log_every`-th step, and of samples.
        sample: Function that generates a text with the model, called every `config.sample_every` steps.
        peak_flops: Peak FLOP/s of one device, to compute the MFU; see `measure_peak_flops` in
            `llmguide.training.utilization`.

    Returns:
        The metrics of the run.

    Raises:
        TypeError: The data are an iterator, an `IterableDataset` outside a loader, or of another wrong type.
        DivergenceError: The loss or gradient is not finite, or the loss jumped. The weights are those before
            the step, and the checkpoints are those before that.
        ValueError: Another process trains in the folder, `data` is a tensor and the config has no
            `context_length`, or the model is one of transformers, which `llmguide.from_hf` converts.

    >>> import torch
    >>> from llmguide import ModelConfig, TrainConfig, build, train
    >>> _ = torch.manual_seed(0)
    >>> model = build(ModelConfig(vocab_size=3, context_length=6, n_layers=1, d_model=12, n_heads=2))
    >>> text = torch.tensor([0, 1, 2] * 100)
    >>> result = train(model, text, TrainConfig(n_steps=15, context_length=6, lr=0.05))
    >>> result.history[0].loss > 1.0, result.loss < 0.7  # from log 3 = 1.1
    (True, True)
    """
    check_type("config", config, TrainConfig, "pass a TrainConfig(n_steps=100, context_length=64)")
    if loss is batch_loss:
        require_own(model)
    sequences = _as_sequences(data, config)
    held_out = None if validation is None else _held_out(validation, config)
    world = distributed.world()
    device = next(model.parameters()).device
    module, loss_of = distributed.wrap(model, loss, config.parallel)
    optimizer = make_optimizer(
        model,
        config.lr,
        rule=config.optimizer,
        weight_decay=config.weight_decay,
        betas=config.betas,
        eps=config.eps,
    )
    with locked(folder if world.rank == 0 else None):  # before anything in the folder is read
        run = RunState() if folder is None else resume(folder, model, optimizer, config)
        losses = [record.loss for record in run.history]
        guard = DivergenceGuard(config, losses, folder=folder, pinned=run.pinned)
        console = Console(config.n_steps, done=len(run.history), every=config.log_every, quiet=world.rank > 0)
        report = _Report(config, model, logger, sample, console, getattr(sequences, "unit", "tokens"))
        if run.history:
            console.write(f"resumed after step {len(run.history):,} of {config.n_steps:,}")
        model.train()
        blocks = training_blocks(
            model, activation_checkpointing=config.activation_checkpointing, compiled=config.compile
        )
        with console, blocks, interrupts(deferred=folder is not None) as signals:
            for step in range(len(run.history) + 1, config.n_steps + 1):
                start = perf_counter()
                if world.size > 1:
                    distributed.seed_rank(config.seed, step)
                batches = [
                    sequences.batch(
                        *distributed.local_range(run.position + i * config.batch_size, config.batch_size)
                    )
                    for i in range(config.gradient_accumulation_steps)
                ]
                lr = config.lr_at(step)
                metrics = train_step(
                    module,
                    batches,
                    optimizer,
                    lr,
                    loss=loss_of,
                    max_grad_norm=config.max_grad_norm,
                    precision=config.precision,
                    check=guard.check,
                )
                speed = metrics.n_targets / (perf_counter() - start)
                record = Record(step, metrics.loss, lr, metrics.grad_norm, speed)
                if peak_flops is not None:
                    record = record._replace(mfu=utilization(model, batches, speed, peak_flops * world.size))
                if held_out is not None and config.is_due(step, config.eval_every):
                    record = record._replace(val_loss=_validation_loss(model, held_out, loss, config))
                run.history.append(record)
                run.position += config.gradient_accumulation_steps * config.batch_size
                run.n_tokens += metrics.n_targets
                stopping = signals.requested(device)
                report.show(record)  # first: a resumed run does not repeat the step of a checkpoint
                if folder is not None and (stopping or config.is_due(step, config.checkpoint_every)):
                    save(folder, run, model, optimizer, config)
                if stopping:
                    signals.stop()
    return TrainResult(run.history, run.n_tokens)


@dataclass
class _Report:
    """Reports the metrics and samples of a run to the logger and console of rank 0."""

    config: TrainConfig
    model: nn.Module
    logger: Logger | None
    sample: Callable[[nn.Module], str] | None
    console: Console
    unit: str  # of what the loss counts, in the plural

    def show(self, record: Record) -> None:
        """Log the metrics of a step, and generate a sample when one is due."""
        config, step, values = self.config, record.step, record.values(self.unit)
        logger = self.logger if distributed.world().rank == 0 else None
        if logger is not None and (record.val_loss is not None or config.is_due(step, config.log_every)):
            logger.log(step, values)
        self.console.show(step, values)
        if self.sample is not None and config.is_due(step, config.sample_every):
            text = _undisturbed(self.sample, self.model, config.seed, step)
            self.console.write(text)
            if logger is not None:
                logger.text(step, text)


def _as_sequences(data: Data, config: TrainConfig) -> Sequences:
    if isinstance(data, Tensor | np.ndarray):
        tokens = data[0] if data.ndim == 2 and len(data) == 1 else data  # tokenizers return one row
        if tokens.ndim != 1:
            raise ValueError(
                f"data of shape {tuple(data.shape)}: give the tokens of all texts in one axis, or rows that "
                "belong apart as a TensorDataset"
            )
        return Windows(tokens, config.window_length(), seed=config.seed)
    if is_map_style(data):  # first: Hugging Face's datasets have a `batch` method, too
        return DatasetSequences(data, seed=config.seed)
    if isinstance(data, Sequences):
        return data
    if isinstance(data, BatchLoader):
        return LoaderSequences(data, as_batch, seed=config.seed)
    raise TypeError(
        f"data are a {type(data).__name__}; give token ids as a tensor, a Dataset with a length and items by "
        "number, or a DataLoader, which also takes an IterableDataset"
    )


def _held_out(data: Data, config: TrainConfig) -> Sequences:
    """Return held-out data by number; a data loader, which may leave items out, is read once."""
    if is_map_style(data) or not isinstance(data, BatchLoader) or isinstance(data, Sequences):
        return _as_sequences(data, config)
    with torch.random.fork_rng(devices=[]):  # from which the loader takes a seed
        batches = [as_batch(taken) for taken in data]
    rows = [row for batch in batches for row in zip(batch.inputs, batch.targets, strict=True)]
    return DatasetSequences(rows, seed=config.seed)


def _validation_loss(model: nn.Module, held_out: Sequences, loss: Loss, config: TrainConfig) -> float:
    return evaluate(
        model,
        held_out,
        loss=loss,
        batch_size=config.batch_size,
        n_batches=config.eval_batches,
        precision=config.precision,
    )


def _undisturbed(sample: Callable[[nn.Module], str], model: nn.Module, seed: int, step: int) -> str:
    """Generate a sample without dropout, and restore the random state of the run."""
    state = random_state()
    distributed.seed_rank(seed, step, same=True)
    model.eval()
    text = sample(model)
    model.train()
    set_random_state(state)
    return text
