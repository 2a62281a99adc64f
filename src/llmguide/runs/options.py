"""Options that the post-training commands share."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import ceil, inf
from typing import Any, Literal, TypeVar

from llmguide.extras import import_extra
from llmguide.nn._linear import Linear
from llmguide.post_training.adapters.lora import apply_lora
from llmguide.post_training.adapters.quantized_linear import quantize_model
from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.runs.folder import say
from llmguide.runs.provenance import digest
from llmguide.runs.shape import Shape
from llmguide.training.config import Precision, TrainConfig

Config = TypeVar("Config", bound=TrainConfig | PolicyTrainerConfig)


def require_wandb() -> None:
    """Log in to Weights & Biases, unless its mode is offline.

    Raises:
        ModuleNotFoundError: wandb is not installed.
        ConnectionError: There is no key, or it is refused.
    """
    wandb = import_extra("wandb", "wandb", "--wandb")
    if os.environ.get("WANDB_MODE", "online") != "online":
        return
    try:
        wandb.login()  # asks for a key in a terminal
    except wandb.errors.Error as error:
        how = "or set WANDB_MODE=offline to log to the run folder only"
        raise ConnectionError(f"--wandb: {error} {how}") from error


@dataclass(frozen=True)
class Steps:
    """Training options of every stage; missing ones depend on the stage and the size of the data set."""

    n_steps: int | None = None  # optimizer steps; for ppo and grpo, rollouts
    epochs: float | None = None  # passes over the training data, in place of --n-steps
    batch_size: int | None = None  # examples, pairs or prompts per batch
    gradient_accumulation_steps: int = (
        1  # batches per step; a rollout of ppo and grpo has as many; short: --accumulation
    )
    lr: float | None = None  # peak learning rate
    precision: Precision = "float32"  # bfloat16, or bf16: autocast; weights and optimizer stay float32
    activation_checkpointing: bool = False  # less memory, a third more computation; short: --recompute
    checkpoint_every: int | None = None  # steps between checkpoints; default: 100, for ppo and grpo 50
    seed: int = 0  # seed of weights, data order and sampling
    wandb: str | None = None  # project on Weights & Biases to log to; needs llmguide[wandb]

    def __post_init__(self) -> None:
        if self.wandb is not None:  # now, not after the data have been read
            require_wandb()

    def merge_into(self, defaults: Config, n: int = 0) -> Config:
        """Return the defaults, overridden by the given options.

        Args:
            defaults: Training configuration of a stage.
            n: Number of training examples or prompts, for ``epochs``.

        Raises:
            ValueError: Both the number of steps and of epochs are given, or an option is out of range.

        >>> config = Steps(batch_size=4).merge_into(TrainConfig(n_steps=10, context_length=8))
        >>> config.batch_size, config.n_steps
        (4, 10)
        >>> Steps(epochs=6, gradient_accumulation_steps=3).merge_into(config, n=8).n_steps
        4
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        others = {"epochs", "wandb"}
        config = replace(defaults, **{name: given[name] for name in given.keys() - others})
        if self.epochs is None:
            return config
        if self.n_steps is not None:
            raise ValueError("--epochs and --n-steps both set the length of the run; give one of them")
        if not 0 < self.epochs < inf:
            raise ValueError(f"--epochs {self.epochs:g} must be above 0")
        return replace(config, n_steps=max(1, ceil(self.epochs * n / per_step(config))))


@dataclass(frozen=True)
class Lora:
    """LoRA options; adapters are merged at the end, and also saved for PEFT."""

    lora_rank: int = 0  # rank of the adapters; 0: full fine-tuning
    lora_alpha: float | None = None  # scaling numerator alpha; default: twice the rank
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")  # layers, by name endings
    # QLoRA: the frozen matrices in 4 bits; default: unquantized. The run then holds the dequantized 4-bit
    # weights with the adapter merged in, so its outputs differ from those of its adapter on the
    # full-precision base.
    quantize: Literal["nf4"] | None = None

    def apply_to(self, model: Any) -> None:
        """Quantize the matrices in the blocks of a model and add adapters, in place, unless the rank is 0.

        Raises:
            ValueError: There are other options without a rank.
        """
        if not self.lora_rank and self != Lora():
            raise ValueError(
                "--lora-alpha, --lora-targets and --quantize are for LoRA; give a --lora-rank, such as 16"
            )
        if self.lora_rank:
            alpha = 2 * self.lora_rank if self.lora_alpha is None else self.lora_alpha
            if self.quantize:
                blocks = (f"blocks.{name}" for name, m in model.blocks.named_modules() if type(m) is Linear)
                quantize_model(model, list(blocks))
            apply_lora(model, rank=self.lora_rank, alpha=alpha, target_modules=self.lora_targets)


SHAPE = Shape(dropout=0.1)  # human comparisons are few, and are used for many epochs


@dataclass(frozen=True)
class ModelSource:
    """The model to start from; without one, a small GPT of the given sizes."""

    model: str | None = None  # a folder of a run (tiny world: of sft) or of transformers, hub or package name
    vocab_size: int = 2048  # token ids of the tokenizer of a new model
    context_length: int = 256  # context length of a new model
    max_length: int | None = None  # most tokens of a training example; default: --context-length
    shape: Shape = SHAPE  # sizes of a new model

    def longest(self, model: Any) -> int:
        """Return the most tokens of a training example for a model, and print if its context is shorter.

        Raises:
            ValueError: The given length is below 2.
        """
        context: int = model.config.context_length
        if self.max_length is None:
            return min(self.context_length, context)
        if self.max_length < 2:
            raise ValueError(f"--max-length {self.max_length} must be at least 2")
        if self.max_length > context:
            say(f"--max-length {self.max_length} is limited to {context}, the context length of the model")
        return min(self.max_length, context)


@dataclass(frozen=True)
class ComparisonData:
    """Human comparisons of two responses."""

    data: str | None = None  # vader, hh, or comparisons in a format above; default: the tiny world
    n_pairs: int = 16_000  # training pairs sampled from vader's texts; half as many are held out
    held_out: float = 0.2  # fraction of texts or conversations that is held out


STEPS, LORA, MODEL_SOURCE, COMPARISON_DATA = Steps(), Lora(), ModelSource(), ComparisonData()


def options_of(source: ModelSource, steps: Steps, lora: Lora, rows: Iterable[Any]) -> dict[str, Any]:
    """Return the options and the digest of the data that must stay the same when a run is resumed."""
    return vars(source) | {
        "shape": vars(source.shape),
        "seed": steps.seed,
        "lora": vars(lora),
        "data_sha256": digest(rows),
    }


def per_step(config: TrainConfig | PolicyTrainerConfig) -> int:
    """Return the number of examples or prompts of a step."""
    return config.batch_size * config.gradient_accumulation_steps


def schedule(steps: Steps, *, n: int, epochs: float, batch_size: int, lr: float) -> TrainConfig:
    """Return a training configuration for a number of examples.

    Args:
        steps: Training options of the user.
        n: Number of training examples.
        epochs: Default number of epochs.
        batch_size: Default batch size.
        lr: Default peak learning rate.

    >>> config = schedule(Steps(batch_size=4), n=10, epochs=2, batch_size=16, lr=1e-3)
    >>> config.batch_size, config.n_steps
    (4, 5)
    """
    if steps.n_steps is None and steps.epochs is None:
        steps = replace(steps, epochs=epochs)
    defaults = TrainConfig(n_steps=1, batch_size=batch_size, lr=lr, weight_decay=0.01)
    config = steps.merge_into(defaults, n)
    return replace(config, eval_every=max(1, config.n_steps // 5), log_every=max(1, config.n_steps // 50))
