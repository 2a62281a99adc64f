r"""The training loop: accumulate gradients, clip, step, evaluate, save, and go on where a crash ended it.

One step lowers the mean next-token loss over every target of `accumulation` micro-batches,

$$L = \frac{1}{\sum_i n_i} \sum_i n_i L_i$$

with $n_i$ targets and mean loss $L_i$ in micro-batch $i$. The plain mean of the $L_i$ is another loss as soon
as the $n_i$ differ.

A run is a function of the model, the data, the config and the random state at its start: every batch follows
from a position and a seed. A checkpoint holds the rest, so a run that was killed and started again ends with
the weights of one that was not, bit for bit on a CPU (on a GPU with `torch.use_deterministic_algorithms`).

References: accumulation weighted by tokens (Unsloth 2024, https://unsloth.ai/blog/gradient); bfloat16
(Kalamkar et al. 2019, arXiv:1905.12322); loss spikes and going back to an earlier checkpoint (PaLM, Chowdhery
et al. 2022, arXiv:2204.02311, section 5.1).

Leaves out: several devices (`torchrun`), float16 with loss scaling, `torch.compile`.

Glossary: ``B`` sequences, ``T`` tokens of a sequence, ``N`` tokens of a corpus.
"""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, Integer
from torch import Tensor, nn

from llmguide.checkpoint import load_latest, random_state, save, set_random_state
from llmguide.losses import IGNORED, linear_cross_entropy
from llmguide.models.gpt import GPT
from llmguide.models.llama import Llama
from llmguide.optim import (
    Optimizer,
    Rule,
    clip_grad_norm_,
    constant,
    param_groups,
    warmup_cosine,
    warmup_stable_decay,
)

Schedule = Literal["cosine", "warmup_stable_decay", "constant"]
Precision = Literal["float32", "bfloat16"]
# Inputs, and what should follow each; -100: no loss. Batches of one list may differ in shape.
Batch = tuple[Int[Tensor, "_B _T"], Int[Tensor, "_B _T"]]

SPIKE_WINDOW = 20  # steps whose mean loss a new loss is compared with


class DivergenceError(ArithmeticError):
    """The loss or the gradient is no number, or the loss has jumped; the step was not taken."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Choices of one training run.

    >>> config = TrainConfig(n_steps=100, context_length=8, learning_rate=0.5, warmup=0.1, floor=0.2)
    >>> [config.learning_rate_at(step) for step in (1, 10, 55, 100)]  # peak, halfway 0.6 x 0.5, end
    [0.05, 0.5, 0.3, 0.1]
    """

    n_steps: int  # updates of the weights
    context_length: int  # T of the windows cut from a tensor of tokens; other data bring their own
    batch_size: int = 16  # sequences in memory at a time
    accumulation: int = 1  # micro-batches a step: a larger batch in the same memory, at the price of time
    learning_rate: float = 6e-4  # the peak; GPT-3's for 125M parameters, and smaller models bear more
    schedule: Schedule = "cosine"  # warmup_stable_decay, if n_steps may grow later
    warmup: float = 0.05  # share of n_steps; without it Adam's first steps go full length on noise
    decay: float = 0.2  # share of n_steps; the cool-down of warmup_stable_decay
    floor: float = 0.1  # last learning rate as a share of the peak
    optimizer: Rule = "adamw"  # muon: for the matrices inside blocks, AdamW for the rest
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    eps: float = 1e-8  # of AdamW
    weight_decay: float = 0.1  # of matrices only
    clip: float = 1.0  # largest norm of the gradient; a larger one is shrunk to it
    precision: Precision = "float32"  # bfloat16: autocast, weights and optimizer stay float32
    max_spike: float = 2.0  # stop if a loss is this many nats above the mean of the last 20; inf: never
    eval_every: int = 100  # steps between evaluations, if there are validation data
    checkpoint_every: int = 100  # steps between checkpoints, if there is a folder; what a crash costs at most
    keep: int = 3  # checkpoints that stay; earlier ones help if the run went bad before it was noticed
    seed: int = 0  # order of the windows, and of nothing else

    def __post_init__(self) -> None:
        """Reject what cannot be trained with."""
        for name in (
            "n_steps",
            "context_length",
            "batch_size",
            "accumulation",
            "eval_every",
            "checkpoint_every",
            "keep",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("learning_rate", "clip", "max_spike"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be above 0; inf switches clipping and checks off"
                )
        for name in ("warmup", "decay", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is a share and must be between 0 and 1")
        if self.schedule == "warmup_stable_decay" and self.warmup + self.decay > 1:
            raise ValueError(f"warmup={self.warmup} and decay={self.decay} are shares that exceed 1 together")
        for name, kind in {"schedule": Schedule, "optimizer": Rule, "precision": Precision}.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}={getattr(self, name)!r} must be one of {', '.join(get_args(kind))}")

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step; they count from 1."""
        n_warmup = round(self.warmup * self.n_steps)
        if self.schedule == "constant":
            factor = constant(step, n_warmup=n_warmup)
        elif self.schedule == "cosine":
            factor = warmup_cosine(step, n_steps=self.n_steps, n_warmup=n_warmup, floor=self.floor)
        else:
            n_decay = round(self.decay * self.n_steps)
            factor = warmup_stable_decay(
                step, n_steps=self.n_steps, n_decay=n_decay, n_warmup=n_warmup, floor=self.floor
            )
        return self.learning_rate * factor


class Record(NamedTuple):
    """What one step showed.

    Attributes:
        step: Its number, from 1.
        loss: Mean over its targets, before the update.
        learning_rate: Of the update.
        grad_norm: Before clipping.
        tokens_per_s: Targets a second, without evaluation and saving.
        val_loss: Mean over the validation data, after the update; None where it was not evaluated.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_s: float
    val_loss: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """What a run showed, over all its interruptions.

    Attributes:
        history: One record a step.
        n_tokens: Targets trained on; a target seen twice counts twice.
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


@runtime_checkable
class Sequences(Protocol):
    """An endless order of training sequences, of which any part can be had at any time."""

    def __len__(self) -> int:
        """Sequences of one epoch."""

    def batch(self, first: int, size: int) -> Batch:
        """Return the sequences ``first`` to ``first + size - 1``: inputs, and targets with -100 for none.

        The answer depends on the arguments alone, which is what makes a run resumable.
        """


class Windows:
    """Windows of one long text, in an order drawn anew each epoch; within an epoch each comes once.

    Neighbours share one token, the last target of one and the first input of the next, so that every token
    but the first is predicted once an epoch; fewer than `length` tokens at the end are left over.

    Args:
        tokens: The text.
        length: Inputs of a window.
        seed: Of the order.

    Raises:
        ValueError: The text is shorter than a window and its last target.

    >>> windows = Windows(torch.arange(9), length=4)
    >>> len(windows), sorted(windows.batch(0, 2)[0].tolist())
    (2, [[0, 1, 2, 3], [4, 5, 6, 7]])
    >>> inputs, targets = windows.batch(1_000_000, 1)
    >>> (targets - inputs).tolist()
    [[1, 1, 1, 1]]
    """

    def __init__(self, tokens: Integer[Tensor, " N"], length: int, *, seed: int = 0):
        self.tokens = tokens
        self.length = length
        self.seed = seed
        self._epoch = -1
        if len(self) < 1:
            raise ValueError(
                f"{len(tokens)} tokens hold no window of {length} and the token after it; "
                f"give at least {length + 1} or a smaller context_length"
            )

    def __len__(self) -> int:
        """Windows of one epoch."""
        return (len(self.tokens) - 1) // self.length

    def batch(self, first: int, size: int) -> Batch:
        """Return windows ``first`` to ``first + size - 1`` of the endless order, as `Sequences` asks."""
        epochs, places = np.divmod(np.arange(first, first + size), len(self))
        starts = [
            self._order(epoch)[place] * self.length
            for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True)
        ]
        rows = torch.stack([self.tokens[start : start + self.length + 1] for start in starts]).long()
        return rows[:, :-1], rows[:, 1:]

    def _order(self, epoch: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
        if (
            epoch != self._epoch
        ):  # kept, since millions of windows take longer to shuffle than a batch to train
            self._epoch = epoch
            self._places = np.random.default_rng((self.seed, epoch)).permutation(len(self))
        return self._places


def train(
    model: nn.Module,
    data: Integer[Tensor, " N"] | Sequences,
    config: TrainConfig,
    *,
    validation: Integer[Tensor, " N_val"] | Sequences | None = None,
    folder: str | Path | None = None,
) -> TrainResult:
    """Train a model to predict the next token, in place; it is left in training mode.

    Args:
        model: Maps ids ``(B, T)`` to logits ``(B, T, V)``. Batches go to its device.
        data: Token ids of one long text, or an object that hands out sequences.
        config: How.
        validation: Held-out data, all of it evaluated every `config.eval_every` steps and at the end.
        folder: Where checkpoints go. If it holds one, the run continues from the newest that is intact.

    Returns:
        The history of the run.

    Raises:
        DivergenceError: The loss or gradient is not finite or the loss jumped. The weights are those before
            the step, and the checkpoints those before that.

    >>> from llmguide.config import ModelConfig
    >>> from llmguide.models import build
    >>> model = build(ModelConfig(vocab_size=3, context_length=6, n_layers=1, d_model=12, n_heads=2))
    >>> text = torch.tensor([0, 1, 2] * 100)
    >>> result = train(model, text, TrainConfig(n_steps=15, context_length=6, learning_rate=0.05))
    >>> result.history[0].loss > 1.0, result.loss < 0.7  # from log 3 = 1.1
    (True, True)
    """
    sequences = _as_sequences(data, config)
    held_out = None if validation is None else _as_sequences(validation, config)
    groups = param_groups(model, weight_decay=config.weight_decay, rule=config.optimizer)
    optimizer = Optimizer(groups, betas=config.betas, eps=config.eps, fused=True)
    run = _resume(folder, model, optimizer, config) if folder is not None else _Run([], 0, 0)
    model.train()
    for step in range(len(run.history) + 1, config.n_steps + 1):
        began = perf_counter()
        batches = [
            sequences.batch(run.position + i * config.batch_size, config.batch_size)
            for i in range(config.accumulation)
        ]
        optimizer.zero_grad()
        loss, n_targets = accumulate_gradients(model, batches, precision=config.precision)
        norm = clip_grad_norm_(model.parameters(), config.clip).item()
        _check(step, loss, norm, history=run.history, config=config, folder=folder)
        lr = config.learning_rate_at(step)
        optimizer.step(lr)
        speed = n_targets / (perf_counter() - began)

        is_last = step == config.n_steps
        val_loss = None
        if held_out is not None and (is_last or step % config.eval_every == 0):
            val_loss = evaluate(model, held_out, batch_size=config.batch_size, precision=config.precision)
        run.history.append(Record(step, loss, lr, norm, speed, val_loss))
        run.position += config.accumulation * config.batch_size
        run.n_tokens += n_targets
        if folder is not None and (is_last or step % config.checkpoint_every == 0):
            save(folder, _state(run, model, optimizer, config), step=step, keep=config.keep)
        _show(run.history[-1], config.n_steps)
    return TrainResult(run.history, run.n_tokens)


def accumulate_gradients(
    model: nn.Module, batches: Sequence[Batch], *, precision: Precision = "float32"
) -> tuple[float, int]:
    """Add to the gradients that of the mean loss over all targets of all batches, one batch at a time.

    Equal to the gradient of one batch that holds them all.

    Args:
        model: As in `train`.
        batches: Inputs and targets.
        precision: Of the forward and backward pass.

    Returns:
        The mean loss, and the number of targets.

    Raises:
        ValueError: No batch has a target.
    """
    counts = [int((targets != IGNORED).sum()) for _, targets in batches]
    total = sum(counts)
    if total == 0:
        raise ValueError(f"all targets of {len(batches)} batches are {IGNORED}; nothing to learn from")
    parts = []
    for (inputs, targets), count in zip(batches, counts, strict=True):
        if count:
            part = mean_loss(model, inputs, targets, precision=precision) * (count / total)
            part.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            parts.append(part.detach())
    return torch.stack(parts).sum().item(), total  # read once: each read makes a GPU wait


@torch.no_grad()
def evaluate(
    model: nn.Module, sequences: Sequences, *, batch_size: int = 16, precision: Precision = "float32"
) -> float:
    """Mean loss over the targets of one epoch, with dropout off.

    Args:
        model: As in `train`; its mode is put back.
        sequences: Each is seen once.
        batch_size: Sequences in memory at a time; changes the result only by rounding.
        precision: Of the forward pass.

    Returns:
        The loss in nats per token; its exponential is the perplexity.

    Raises:
        ValueError: The epoch has no target.
    """
    was_training = model.training
    model.eval()
    loss, total = 0.0, 0
    for first in range(0, len(sequences), batch_size):
        inputs, targets = sequences.batch(first, min(batch_size, len(sequences) - first))
        count = int((targets != IGNORED).sum())
        if count:
            loss += mean_loss(model, inputs, targets, precision=precision).item() * count
            total += count
    model.train(was_training)
    if total == 0:
        raise ValueError(f"all targets of {len(sequences)} sequences are {IGNORED}; nothing to evaluate")
    return loss / total


def mean_loss(
    model: nn.Module, inputs: Int[Tensor, "B T"], targets: Int[Tensor, "B T"], *, precision: Precision
) -> Tensor:
    """Mean cross entropy over the targets that count, in float32, without holding all logits if it can.

    Args:
        model: As in `train`.
        inputs: Token ids.
        targets: The token after each, or -100; at least one counts.
        precision: Of the matrix products.

    Returns:
        The loss.
    """
    device = next(model.parameters()).device
    inputs, targets = inputs.to(device), targets.to(device).flatten()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if isinstance(model, GPT | Llama):
            head = model.tokens if model.head is None else model.head
            return linear_cross_entropy(model.hidden(inputs).flatten(0, 1), head.weight, targets)
        return F.cross_entropy(model(inputs).flatten(0, 1).float(), targets, ignore_index=IGNORED)


@dataclass
class _Run:
    history: list[Record]
    position: int  # sequences taken from the data
    n_tokens: int


def _as_sequences(data: Tensor | Sequences, config: TrainConfig) -> Sequences:
    return Windows(data, config.context_length, seed=config.seed) if isinstance(data, Tensor) else data


def _check(
    step: int,
    loss: float,
    norm: float,
    *,
    history: list[Record],
    config: TrainConfig,
    folder: str | Path | None,
) -> None:
    recent = [record.loss for record in history[-SPIKE_WINDOW:]]
    usual = sum(recent) / len(recent) if recent else loss
    if np.isfinite(loss) and np.isfinite(norm) and loss <= usual + config.max_spike:
        return
    saved = "no checkpoint was asked for" if folder is None else f"the last checkpoints are in {folder}"
    raise DivergenceError(
        f"step {step} was not taken: loss {loss:.4g}, gradient norm {norm:.4g}, mean loss of the last "
        f"{len(recent)} steps {usual:.4g}; {saved}. Lower learning_rate={config.learning_rate:g}, lengthen "
        f"warmup={config.warmup:g}, or look at the data of this step"
    )


def _state(run: _Run, model: nn.Module, optimizer: Optimizer, config: TrainConfig) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": random_state(),
        "history": [tuple(record) for record in run.history],
        "position": run.position,
        "n_tokens": run.n_tokens,
        "config": asdict(config),
    }


def _resume(folder: str | Path, model: nn.Module, optimizer: Optimizer, config: TrainConfig) -> _Run:
    state = load_latest(folder)
    if state is None:
        return _Run([], 0, 0)
    changed = [
        f"{field.name}={getattr(config, field.name)!r} (was {state['config'].get(field.name)!r})"
        for field in fields(config)
        if getattr(config, field.name) != state["config"].get(field.name)
    ]
    if changed:
        warnings.warn(f"the run in {folder} continues with {', '.join(changed)}", stacklevel=3)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    set_random_state(state["random"])
    return _Run([Record(*row) for row in state["history"]], state["position"], state["n_tokens"])


def _show(record: Record, n_steps: int) -> None:
    """Keep one line up to date, where somebody is looking."""
    if sys.stderr.isatty():
        end = "\n" if record.step == n_steps or record.val_loss is not None else ""
        val = "" if record.val_loss is None else f"  val {record.val_loss:.4f}"
        sys.stderr.write(
            f"\rstep {record.step}/{n_steps}  loss {record.loss:.4f}{val}  lr {record.learning_rate:.2e}  "
            f"norm {record.grad_norm:.2f}  {record.tokens_per_s:,.0f} tokens/s {end}"
        )
        sys.stderr.flush()
