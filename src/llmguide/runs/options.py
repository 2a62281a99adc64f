"""Options that the post-training commands share."""

from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any, TypeVar

from llmguide.post_training.adapters.lora import apply_lora
from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.runs.shape import Shape
from llmguide.training.config import TrainConfig

Config = TypeVar("Config", bound=TrainConfig | PolicyTrainerConfig)


@dataclass(frozen=True)
class Steps:
    """Training options; missing ones are derived from the size of the data set."""

    n_steps: int | None = None  # optimizer steps; for ppo and grpo, rollouts
    batch_size: int | None = None  # examples, pairs or prompts per step
    lr: float | None = None  # peak learning rate
    checkpoint_every: int | None = None  # steps between checkpoints
    seed: int = 0  # seed of weights, data order and sampling

    def merge_into(self, defaults: Config) -> Config:
        """Return the defaults, overridden by the given options.

        >>> Steps(batch_size=4).merge_into(TrainConfig(n_steps=10, context_length=8)).batch_size
        4
        """
        return replace(defaults, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True)
class Lora:
    """LoRA options; adapters are merged at the end, and also saved for PEFT."""

    lora_rank: int = 0  # rank of the adapters; 0: full fine-tuning
    lora_alpha: float | None = None  # scaling numerator alpha; default: twice the rank
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")  # layers, by name endings

    def apply_to(self, model: Any) -> None:
        """Add adapters to a model in place, unless the rank is 0."""
        if self.lora_rank:
            alpha = 2 * self.lora_rank if self.lora_alpha is None else self.lora_alpha
            apply_lora(model, rank=self.lora_rank, alpha=alpha, targets=self.lora_targets)


SHAPE = Shape(dropout=0.1)  # human comparisons are few, and are used for many epochs


@dataclass(frozen=True)
class ModelSource:
    """The model to start from; without one, a small GPT of the given sizes."""

    model: str | None = None  # a folder of a run (tiny world: of sft) or of transformers, hub or package name
    vocab_size: int = 2048  # token ids of the tokenizer of a new model
    context_length: int = 256  # context length of a new model; for any model, the most tokens of a text
    shape: Shape = SHAPE  # sizes of a new model


@dataclass(frozen=True)
class ComparisonData:
    """Human comparisons of two responses."""

    data: str | None = None  # vader, hh, or comparisons in a format above; default: the tiny world
    n_pairs: int = 16_000  # training pairs sampled from vader's texts; half as many are held out
    held_out: float = 0.2  # fraction of texts or conversations that is held out


STEPS, LORA, MODEL_SOURCE, COMPARISON_DATA = Steps(), Lora(), ModelSource(), ComparisonData()


def schedule(steps: Steps, *, n: int, epochs: float, batch_size: int, lr: float) -> TrainConfig:
    """Return a training configuration for a number of examples.

    Args:
        steps: Training options of the user.
        n: Number of training examples.
        epochs: Number of epochs, if the number of steps is not given.
        batch_size: Default batch size.
        lr: Default peak learning rate.

    >>> config = schedule(Steps(batch_size=4), n=10, epochs=2, batch_size=16, lr=1e-3)
    >>> config.batch_size, config.n_steps
    (4, 5)
    """
    size = steps.batch_size or batch_size
    n_steps = steps.n_steps or max(1, ceil(epochs * n / size))
    return steps.merge_into(
        TrainConfig(
            n_steps=n_steps,
            context_length=1,  # the data set has its own length
            batch_size=size,
            lr=lr,
            weight_decay=0.01,
            eval_every=max(1, n_steps // 5),
            log_every=max(1, n_steps // 50),
        )
    )
