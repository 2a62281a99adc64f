"""The hyperparameters of a training run."""

from dataclasses import dataclass
from typing import Literal, get_args

from llmguide.training.distributed import Parallel
from llmguide.training.optimizers import Rule
from llmguide.training.schedules import constant, warmup_cosine, warmup_stable_decay

Schedule = Literal["cosine", "warmup_stable_decay", "constant"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Hyperparameters of one training run.

    Attributes:
        n_steps: Optimizer steps.
        context_length: Tokens T of a window; needed only if the data are a tensor of tokens.
        batch_size: Sequences per micro-batch, over all processes.
        gradient_accumulation_steps: Micro-batches per step: a larger batch in the same memory.
        lr: Peak learning rate above 0; GPT-3 had 6e-4 at 125M parameters, and smaller models tolerate more.
        schedule: Learning-rate schedule; warmup_stable_decay if n_steps may grow later.
        warmup_ratio: Warmup as a fraction of n_steps; without it Adam's first steps are full-size noise.
        decay_ratio: Decay of warmup_stable_decay as a fraction of n_steps.
        min_lr_ratio: Final learning rate as a fraction of the peak.
        optimizer: Update rule; muon takes the matrices inside blocks, and AdamW the rest.
        betas: Decay rates of AdamW's first and second moments.
        eps: Number added to the denominator of AdamW's update.
        weight_decay: Decoupled weight decay of matrices; vectors have none.
        max_grad_norm: Norm to which a larger gradient is clipped; inf: no clipping.
        precision: Number format; with bfloat16, autocast: weights and optimizer stay float32.
        activation_checkpointing: Whether to recompute activations: less memory, about a third more
            computation.
        compile: Whether to compile the blocks with torch.compile; the first step takes a minute.
        parallel: Data parallelism under torchrun; fsdp shards the weights.
        max_spike: Nats above the mean of the last 20 losses at which a loss stops the run; inf: never. Half
            of the mean is tolerated in any case, because other losses than the default may be large.
        eval_every: Steps between evaluations, if there are validation data.
        eval_batches: Batches of an evaluation, always the same ones; None: all.
        log_every: Steps between records in the logger.
        sample_every: Steps between samples, if there is a function that generates them.
        checkpoint_every: Steps between checkpoints, if there is a folder.
        keep_last: Checkpoints to keep; earlier ones help if a run went bad unnoticed.
        seed: Seed of the order of the data only, 0 or above.

    >>> from llmguide import TrainConfig
    >>> config = TrainConfig(n_steps=100, context_length=8, lr=0.5, warmup_ratio=0.1, min_lr_ratio=0.2)
    >>> [config.lr_at(step) for step in (1, 10, 55, 100)]  # peak, halfway 0.6 x 0.5, end
    [0.05, 0.5, 0.3, 0.1]
    """

    n_steps: int
    context_length: int | None = None
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    lr: float = 6e-4
    schedule: Schedule = "cosine"
    warmup_ratio: float = 0.05
    decay_ratio: float = 0.2
    min_lr_ratio: float = 0.1
    optimizer: Rule = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0
    precision: Precision = "float32"
    activation_checkpointing: bool = False
    compile: bool = False
    parallel: Parallel = "ddp"
    max_spike: float = 2.0
    eval_every: int = 100
    eval_batches: int | None = None
    log_every: int = 10
    sample_every: int = 500
    checkpoint_every: int = 100
    keep_last: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject values out of range."""
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
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must be at least 0")
        for name in ("lr", "max_grad_norm", "max_spike"):
            if not getattr(self, name) > 0:
                off = "" if name == "lr" else "; inf switches it off"
                raise ValueError(f"{name}={getattr(self, name)} must be above 0{off}")
        for name in ("warmup_ratio", "decay_ratio", "min_lr_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is a fraction and must be between 0 and 1")
        if self.schedule == "warmup_stable_decay" and self.warmup_ratio + self.decay_ratio > 1:
            raise ValueError(
                f"warmup_ratio={self.warmup_ratio} and decay_ratio={self.decay_ratio} exceed 1 together"
            )
        choices = {"schedule": Schedule, "optimizer": Rule, "precision": Precision, "parallel": Parallel}
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}={getattr(self, name)!r} must be one of {', '.join(get_args(kind))}")

    def window_length(self) -> int:
        """Return `context_length`, which is required to cut tokens into windows.

        Raises:
            ValueError: The config has no `context_length`.
        """
        if self.context_length is None:
            raise ValueError(
                "tokens are cut into windows: give a context_length, as in TrainConfig(context_length=128)"
            )
        return self.context_length

    def is_due(self, step: int, every: int) -> bool:
        """Whether an action that is due every ``every`` steps, and at the last step, is due at this step."""
        return step == self.n_steps or step % every == 0

    def lr_at(self, step: int) -> float:
        """Compute the learning rate of a step; steps count from 1."""
        if self.n_steps == 1:
            return self.lr  # the floor of the last step would be that of the only one
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
