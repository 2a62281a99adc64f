"""Hyperparameters of a reinforcement-learning run that PPO and GRPO share."""

from dataclasses import dataclass
from typing import get_args

from llmguide.training.config import Precision


@dataclass(frozen=True, kw_only=True)
class PolicyTrainerConfig:
    """Hyperparameters that PPO and GRPO share."""

    n_steps: int  # rollouts; each is trained on for n_epochs
    batch_size: int  # prompts per micro-batch, over all processes
    max_new_tokens: int  # tokens of the longest completion
    eos_id: int | tuple[int, ...] | None = None  # ends a completion; None: all have the full length
    gradient_accumulation_steps: int = 1  # micro-batches per step: more prompts, updates in the same memory
    temperature: float = 1.0  # softmax temperature of the policy, in rollouts and in training
    lr: float = 3e-6  # peak learning rate, falling along half a cosine; a tenth of that of SFT is usual
    min_lr_ratio: float = 0.1  # last learning rate as a fraction of the peak
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    weight_decay: float = 0.0  # 0: the KL penalty pulls toward the reference model, not toward 0
    max_grad_norm: float = 1.0  # larger gradient norms are clipped to this
    n_epochs: int = 1  # epochs over a rollout; clipping bounds the update of the later ones
    n_minibatches: int = 1  # optimizer steps per epoch
    precision: Precision = "float32"  # bfloat16: autocast, weights and optimizer stay float32
    activation_checkpointing: bool = False  # less memory in the update, about a third more computation
    checkpoint_every: int = 50  # steps between checkpoints, if there is a folder
    keep_last: int = 3  # number of checkpoints to keep
    seed: int = 0  # seed of the order of the prompts only

    def __post_init__(self) -> None:
        """Reject values out of range."""
        for name in (
            "n_steps",
            "batch_size",
            "max_new_tokens",
            "gradient_accumulation_steps",
            "n_epochs",
            "n_minibatches",
            "checkpoint_every",
            "keep_last",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must be at least 0")
        for name in ("lr", "temperature", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision={self.precision!r} must be one of {', '.join(get_args(Precision))}")
