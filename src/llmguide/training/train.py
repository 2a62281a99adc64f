r"""The training loop: accumulate gradients, clip, step, evaluate, save, and go on where a crash ended it.

One step lowers the mean next-token loss over every target of `gradient_accumulation_steps` micro-batches,

$$L = \frac{1}{\sum_i n_i} \sum_i n_i L_i$$

with $n_i$ targets and mean loss $L_i$ in micro-batch $i$. The plain mean of the $L_i$ is another loss as soon
as the $n_i$ differ.

A run is a function of the model, the data, the config and the random state at its start: every batch follows
from a position and a seed. A checkpoint holds the rest, so a run that was killed and started again ends with
the weights of one that was not, bit for bit on a CPU (on a GPU with `torch.use_deterministic_algorithms`).

References: accumulation weighted by tokens (Unsloth 2024, https://unsloth.ai/blog/gradient); bfloat16
(Kalamkar et al. 2019, arXiv:1905.12322); loss spikes and going back to an earlier checkpoint (PaLM, Chowdhery
et al. 2022, arXiv:2204.02311, section 5.1).

With `torchrun`, the same call trains in several processes; see `llmguide.training.distributed`.

Leaves out: float16 with loss scaling.

Glossary: ``B`` sequences, ``T`` tokens of a sequence, ``N`` tokens of a corpus.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from llmguide.config import ModelConfig
from llmguide.costs.scaling_laws import forward_flops_per_token
from llmguide.data.tokens.windows import Sequences, Windows, to_device
from llmguide.training import distributed
from llmguide.training.activation_checkpointing import training_blocks
from llmguide.training.checkpoint import checkpoints, random_state, set_random_state, step_of
from llmguide.training.distributed import Loss, Parallel
from llmguide.training.locks import locked
from llmguide.training.losses import batch_loss
from llmguide.training.monitor import SPIKE_WINDOW, Console, Logger, is_spike
from llmguide.training.optim import clip_grad_norm_
from llmguide.training.optimizers import Rule, load_named_state, make_optimizer, named_state
from llmguide.training.schedules import constant, warmup_cosine, warmup_stable_decay

Schedule = Literal["cosine", "warmup_stable_decay", "constant"]
Precision = Literal["float32", "bfloat16"]
Data = Integer[Tensor, " _N"] | Integer[np.ndarray, " _N"] | Sequences


class DivergenceError(ArithmeticError):
    """The loss or the gradient is no number, or the loss has jumped; the step was not taken."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Choices of one training run.

    >>> from llmguide import TrainConfig
    >>> config = TrainConfig(n_steps=100, context_length=8, lr=0.5, warmup_ratio=0.1, min_lr_ratio=0.2)
    >>> [config.lr_at(step) for step in (1, 10, 55, 100)]  # peak, halfway 0.6 x 0.5, end
    [0.05, 0.5, 0.3, 0.1]
    """

    n_steps: int  # updates of the weights
    context_length: int  # T of the windows cut from a tensor of tokens; other data bring their own
    batch_size: int = 16  # sequences in memory at a time, in all processes together
    gradient_accumulation_steps: int = (
        1  # micro-batches a step: a larger batch in the same memory, at the price of time
    )
    lr: float = 6e-4  # the peak; GPT-3's for 125M parameters, and smaller models bear more
    schedule: Schedule = "cosine"  # warmup_stable_decay, if n_steps may grow later
    warmup_ratio: float = 0.05  # share of n_steps; without it Adam's first steps go full length on noise
    decay_ratio: float = 0.2  # share of n_steps; the cool-down of warmup_stable_decay
    min_lr_ratio: float = 0.1  # last learning rate as a share of the peak
    optimizer: Rule = "adamw"  # muon: for the matrices inside blocks, AdamW for the rest
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    eps: float = 1e-8  # of AdamW
    weight_decay: float = 0.1  # of matrices only
    max_grad_norm: float = 1.0  # largest norm of the gradient; a larger one is shrunk to it
    precision: Precision = "float32"  # bfloat16: autocast, weights and optimizer stay float32
    activation_checkpointing: bool = False  # less memory, a third more computation
    compile: bool = False  # blocks by torch.compile; the first step takes a minute
    parallel: Parallel = "ddp"  # fsdp: weights in slices; of effect under torchrun only
    max_spike: float = 2.0  # stop if a loss is this many nats above the mean of the last 20; inf: never
    eval_every: int = 100  # steps between evaluations, if there are validation data
    eval_batches: int | None = None  # of an evaluation, always the same; None: all
    log_every: int = 10  # steps between the records that a logger gets
    sample_every: int = 500  # steps between samples, if there is a function that draws them
    checkpoint_every: int = 100  # steps between checkpoints, if there is a folder; what a crash costs at most
    keep_last: int = 3  # checkpoints that stay; earlier ones help if the run went bad before it was noticed
    seed: int = 0  # order of the windows, and of nothing else

    def __post_init__(self) -> None:
        """Reject what cannot be trained with."""
        for name in (
            "n_steps",
            "context_length",
            "batch_size",
            "gradient_accumulation_steps",
            "eval_every",
            "eval_batches",
            "log_every",
            "sample_every",
            "checkpoint_every",
            "keep_last",
        ):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("lr", "max_grad_norm", "max_spike"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be above 0; inf switches clipping and checks off"
                )
        for name in ("warmup_ratio", "decay_ratio", "min_lr_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is a share and must be between 0 and 1")
        if self.schedule == "warmup_stable_decay" and self.warmup_ratio + self.decay_ratio > 1:
            raise ValueError(
                f"warmup_ratio={self.warmup_ratio} and decay_ratio={self.decay_ratio} exceed 1 together"
            )
        choices = {"schedule": Schedule, "optimizer": Rule, "precision": Precision, "parallel": Parallel}
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}={getattr(self, name)!r} must be one of {', '.join(get_args(kind))}")

    def lr_at(self, step: int) -> float:
        """Learning rate of a step; they count from 1."""
        n_warmup = round(self.warmup_ratio * self.n_steps)
        if self.schedule == "constant":
            factor = constant(step, n_warmup=n_warmup)
        elif self.schedule == "cosine":
            factor = warmup_cosine(step, n_steps=self.n_steps, n_warmup=n_warmup, floor=self.min_lr_ratio)
        else:
            n_decay = round(self.decay_ratio * self.n_steps)
            factor = warmup_stable_decay(
                step, n_steps=self.n_steps, n_decay=n_decay, n_warmup=n_warmup, floor=self.min_lr_ratio
            )
        return self.lr * factor


class Record(NamedTuple):
    """What one step showed.

    Attributes:
        step: Its number, from 1.
        loss: Mean over its targets, before the update.
        lr: Of the update.
        grad_norm: Before clipping.
        tokens_per_s: Targets a second, without evaluation and saving.
        val_loss: Mean over the validation data, after the update; None where it was not evaluated.
        mfu: Model FLOPs utilization, counting targets only; None if the peak is not known.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens_per_s: float
    val_loss: float | None = None
    mfu: float | None = None

    def values(self) -> dict[str, float]:
        """What was measured, by name."""
        return {name: value for name, value in self._asdict().items() if name != "step" and value is not None}


@dataclass(frozen=True)
class TrainResult:
    """What a run showed, over all its interruptions.

    Attributes:
        history: One record a step.
        n_tokens: Targets trained on; a target seen twice counts twice.

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
        model: Maps ids ``(B, T)`` to logits ``(B, T, V)``. Batches go to its device.
        data: Token ids of one long text, or an object that hands out sequences.
        config: How.
        validation: Held-out data, evaluated every `config.eval_every` steps and at the end.
        folder: Where checkpoints go. If it holds one, the run continues from the newest that is intact.
        loss: What is lowered, by default the mean cross entropy of the next token: maps the model and a batch
            of the data to a mean and the number of targets that it is the mean of.
        logger: Gets the numbers of every `config.log_every`-th step, and the samples.
        sample: Writes something with the model, to be read every `config.sample_every` steps.
        peak_flops: FLOP/s of one device (`llmguide.training.monitor.measure_peak_flops`), to know the MFU.

    Returns:
        The history of the run.

    Raises:
        DivergenceError: The loss or gradient is not finite or the loss jumped. The weights are those before
            the step, and the checkpoints those before that.
        ValueError: Another process trains in the folder.

    >>> from llmguide import ModelConfig, TrainConfig, build, train
    >>> _ = torch.manual_seed(0)
    >>> model = build(ModelConfig(vocab_size=3, context_length=6, n_layers=1, d_model=12, n_heads=2))
    >>> text = torch.tensor([0, 1, 2] * 100)
    >>> result = train(model, text, TrainConfig(n_steps=15, context_length=6, lr=0.05))
    >>> result.history[0].loss > 1.0, result.loss < 0.7  # from log 3 = 1.1
    (True, True)
    """
    sequences = _as_sequences(data, config)
    held_out = None if validation is None else _as_sequences(validation, config)
    world = distributed.world()
    module, loss_of = distributed.wrap(model, loss, config.parallel)
    optimizer = make_optimizer(
        model,
        config.lr,
        rule=config.optimizer,
        weight_decay=config.weight_decay,
        betas=config.betas,
        eps=config.eps,
    )
    with locked(folder if world.rank == 0 else None):  # before anything of the folder is read
        run = _Run() if folder is None else _resume(folder, model, optimizer, config)
        flops = _training_flops_per_token(model, config) / (peak_flops * world.size) if peak_flops else None
        first = len(run.history) + 1
        console = Console(config.n_steps, done=first - 1, every=config.log_every, quiet=world.rank > 0)
        if world.rank > 0:
            logger = None
        model.train()
        blocks = training_blocks(
            model, activation_checkpointing=config.activation_checkpointing, compiled=config.compile
        )
        with console, blocks:
            for step in range(first, config.n_steps + 1):
                began = perf_counter()
                if world.size > 1:
                    distributed.seed_rank(config.seed, step)
                batches = [
                    sequences.batch(
                        *distributed.share(run.position + i * config.batch_size, config.batch_size)
                    )
                    for i in range(config.gradient_accumulation_steps)
                ]
                optimizer.zero_grad()
                mean, n = accumulate_gradients(module, batches, loss=loss_of, precision=config.precision)
                norm = clip_grad_norm_(model.parameters(), config.max_grad_norm).item()
                _check(step, mean, norm, run=run, config=config, folder=folder)
                lr = config.lr_at(step)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.step()
                speed = n / (perf_counter() - began)

                is_last = step == config.n_steps
                val_loss = None
                if held_out is not None and (is_last or step % config.eval_every == 0):
                    val_loss = evaluate(
                        model,
                        held_out,
                        loss=loss,
                        batch_size=config.batch_size,
                        n_batches=config.eval_batches,
                        precision=config.precision,
                    )
                record = Record(
                    step, mean, lr, norm, speed, val_loss, None if flops is None else speed * flops
                )
                run.history.append(record)
                run.position += config.gradient_accumulation_steps * config.batch_size
                run.n_tokens += n
                if folder is not None and (is_last or step % config.checkpoint_every == 0):
                    state = _state(run, model, optimizer, config)
                    distributed.save(folder, state, step=step, keep_last=config.keep_last, pinned=run.pinned)
                if logger is not None and (is_last or val_loss is not None or step % config.log_every == 0):
                    logger.log(step, record.values())
                console.show(step, record.values())
                if sample is not None and (is_last or step % config.sample_every == 0):
                    text = _undisturbed(sample, model, config.seed, step)
                    console.write(text)
                    if logger is not None:
                        logger.text(step, text)
    return TrainResult(run.history, run.n_tokens)


def accumulate_gradients(
    model: nn.Module,
    batches: Sequence[tuple[Tensor | None, ...]],
    *,
    loss: Loss = batch_loss,
    precision: Precision = "float32",
) -> tuple[float, int]:
    """Add to the gradients that of the mean loss over all targets of all batches, one batch at a time.

    Equal to the gradient of one batch that holds them all.

    Args:
        model: As in `train`, without gradients.
        batches: What `loss` understands.
        loss: As in `train`.
        precision: Of the forward and backward pass.

    Returns:
        The mean loss, and the number of targets.

    Raises:
        ValueError: No batch has a target.
    """
    device = next(model.parameters()).device
    n_processes = distributed.world().size
    is_whole = len(batches) == n_processes == 1
    ddp = model if isinstance(model, DistributedDataParallel) else None
    sums, total = torch.zeros((), device=device), 0.0
    for i, batch in enumerate(batches):
        is_last = i == len(batches) - 1
        # DDP averages after the last batch only
        with ddp.no_sync() if ddp is not None and not is_last else nullcontext():
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                mean, n = loss(model, to_device(batch, device))
            if n or n_processes > 1:  # all processes or none
                # the number of all targets is known at the end only; a single batch has it at once
                part = mean if is_whole else mean * n
                part.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        sums += mean.detach() * n
        total += n
    summed, total = distributed.all_reduce_sum(sums.item(), total, device=device)
    if total == 0:
        raise ValueError(f"all targets of {len(batches)} batches are -100; nothing to learn from")
    if not is_whole:
        for p in model.parameters():
            if p.grad is not None:
                p.grad.mul_(n_processes / total)  # DDP and FSDP have divided by the number of processes
    return summed / total, int(total)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    sequences: Sequences,
    *,
    loss: Loss = batch_loss,
    batch_size: int = 16,
    n_batches: int | None = None,
    precision: Precision = "float32",
) -> float:
    """Mean loss over the targets of one epoch, with dropout off.

    Args:
        model: As in `train`; its mode is put back.
        sequences: Each is seen once.
        loss: As in `train`.
        batch_size: Sequences in memory at a time; changes the result only by rounding.
        n_batches: See only the first of them, if there are more.
        precision: Of the forward pass.

    Returns:
        The loss; of the default one, in nats per token, the exponential is the perplexity.

    Raises:
        ValueError: There is no target.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    summed, total = 0.0, 0.0
    end = len(sequences) if n_batches is None else min(len(sequences), n_batches * batch_size)
    for first in range(0, end, batch_size):
        size = min(batch_size, end - first)
        # slices may differ in size; a process without one runs a sequence that does not count
        own = distributed.rank_slice(size)
        n_own = own.stop - own.start
        batch = to_device(sequences.batch(first + own.start, max(n_own, 1)), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            mean, n = loss(model, batch)
        if n and n_own:
            summed += mean.item() * n
            total += n
    model.train(was_training)
    summed, total = distributed.all_reduce_sum(summed, total, device=device)
    if total == 0:
        raise ValueError(f"all targets of {len(sequences)} sequences are -100; nothing to evaluate")
    return summed / total


@dataclass
class _Run:
    history: list[Record] = field(default_factory=list)
    position: int = 0  # sequences taken from the data
    n_tokens: int = 0
    pinned: list[int] = field(default_factory=list)  # steps of checkpoints before a spike


def _as_sequences(data: Data, config: TrainConfig) -> Sequences:
    if isinstance(data, Tensor | np.ndarray):
        return Windows(data, config.context_length, seed=config.seed)
    return data


def _training_flops_per_token(model: nn.Module, config: TrainConfig) -> float:
    """Three times the forward pass, or 6 for each weight of a model that has no config."""
    if isinstance(getattr(model, "config", None), ModelConfig):
        shape: Any = model.config
        return 3.0 * sum(forward_flops_per_token(shape, config.context_length).values())
    return 6.0 * sum(p.numel() for p in model.parameters())


def _undisturbed(sample: Callable[[nn.Module], str], model: nn.Module, seed: int, step: int) -> str:
    """Draw a sample without dropout, and leave the random numbers of the run as they were."""
    state = random_state()
    distributed.seed_rank(seed, step, same=True)
    model.eval()
    text = sample(model)
    model.train()
    set_random_state(state)
    return text


def _check(
    step: int,
    loss: float,
    norm: float,
    *,
    run: _Run,
    config: TrainConfig,
    folder: str | Path | None,
) -> None:
    """Stop at a jump of the loss; at a smaller one warn, and keep the checkpoint before it."""
    recent = [record.loss for record in run.history[-SPIKE_WINDOW:]]
    usual = sum(recent) / len(recent) if recent else loss
    found = (
        f"loss {loss:.4g}, gradient norm {norm:.4g}, mean loss of the last {len(recent)} steps {usual:.4g}"
    )
    if not (np.isfinite(loss) and np.isfinite(norm) and loss <= usual + config.max_spike):
        saved = "no checkpoint was asked for" if folder is None else f"the last checkpoints are in {folder}"
        raise DivergenceError(
            f"step {step} was not taken: {found}; {saved}. Lower lr={config.lr:g}, "
            f"lengthen warmup_ratio={config.warmup_ratio:g}, or look at the data of this step"
        )
    if is_spike(recent, loss):
        older = [] if folder is None else [path for path in checkpoints(folder) if step_of(path) < step]
        kept = f"{older[0].name} is kept" if older else "there is no checkpoint to go back to"
        run.pinned += [step_of(path) for path in older[:1]]
        if distributed.world().rank == 0:
            warnings.warn(f"step {step}: {found}: a spike; {kept}", stacklevel=3)


def _state(
    run: _Run, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig
) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "optimizer": named_state(optimizer),
        "random": random_state(),
        "history": [tuple(record) for record in run.history],
        "position": run.position,
        "n_tokens": run.n_tokens,
        "pinned": run.pinned,
        "config": asdict(config),
    }


def _resume(
    folder: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig
) -> _Run:
    state = distributed.load_latest(folder, model)
    if state is None:
        return _Run()
    changed = [
        f"{each.name}={getattr(config, each.name)!r} (was {state['config'].get(each.name)!r})"
        for each in fields(config)
        if getattr(config, each.name) != state["config"].get(each.name)
    ]
    if changed:
        warnings.warn(f"the run in {folder} continues with {', '.join(changed)}", stacklevel=3)
    model.load_state_dict(state["model"])
    load_named_state(optimizer, state["optimizer"])
    set_random_state(state["random"])
    history = [Record(*row) for row in state["history"]]
    return _Run(history, state["position"], state["n_tokens"], state["pinned"])
