"""Hyperparameters of a reinforcement-learning run that PPO and GRPO share."""

from dataclasses import dataclass
from typing import get_args

from llmguide.training.config import Precision


@dataclass(frozen=True, kw_only=True)
class PolicyTrainerConfig:
    """Hyperparameters that PPO and GRPO share.

    Attributes:
        n_steps: Number of rollouts; each is trained on for n_epochs.
        batch_size: Prompts per micro-batch, over all processes.
        max_new_tokens: Tokens of the longest completion.
        eos_id: Token ids that end a completion; None: every completion has the full length.
        gradient_accumulation_steps: Micro-batches per step: more prompts, updates in the same memory.
        temperature: Softmax temperature of the policy above 0, in rollouts and in training.
        lr: Peak learning rate, which falls along half a cosine; a tenth of that of SFT is usual.
        min_lr_ratio: Final learning rate as a fraction of the peak.
        betas: Decay rates of AdamW's first and second moments.
        weight_decay: Decoupled weight decay; 0, because the KL penalty pulls toward the reference model.
        max_grad_norm: Norm to which a larger gradient is clipped.
        n_epochs: Epochs over a rollout; clipping bounds the update of the later ones.
        n_minibatches: Optimizer steps per epoch.
        precision: Number format; with bfloat16, autocast: weights and optimizer stay float32.
        activation_checkpointing: Whether to recompute activations in the update: less memory, about a third
            more computation.
        checkpoint_every: Steps between checkpoints, if there is a folder.
        keep_last: Checkpoints to keep.
        seed: Seed of the order of the prompts only, 0 or above.
    """

    n_steps: int
    batch_size: int
    max_new_tokens: int
    eos_id: int | tuple[int, ...] | None = None
    gradient_accumulation_steps: int = 1
    temperature: float = 1.0
    lr: float = 3e-6
    min_lr_ratio: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    n_epochs: int = 1
    n_minibatches: int = 1
    precision: Precision = "float32"
    activation_checkpointing: bool = False
    checkpoint_every: int = 50
    keep_last: int = 3
    seed: int = 0

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
