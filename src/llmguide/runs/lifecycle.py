"""The lifecycle of a run: start, logging and report."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from llmguide.data.splits import position
from llmguide.data.tokens.windows import Sequences
from llmguide.files import write_json
from llmguide.runs.folder import claim, n_params, record, say
from llmguide.training import distributed
from llmguide.training.config import TrainConfig
from llmguide.training.monitor import JsonLinesLogger, Loggers, TensorBoardLogger, WandbLogger
from llmguide.training.train import TrainResult, train

Item = TypeVar("Item")


def start_run(output: Path, **options: Any) -> torch.device:
    """Start or resume a run: lock its folder to one set of options, and show progress.

    Returns:
        The device of this process.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("llmguide").setLevel(logging.INFO)
    device = distributed.init_process_group()
    given = {name: options[name] for name in ("model", "reward_model") if options.get(name) is not None}
    # absolute, so that a checkpoint can be opened from another working directory
    options |= {name: Path(at).resolve() for name, at in given.items() if Path(at).exists()}
    if distributed.world().rank == 0:
        claim(output, json.loads(json.dumps(options, default=str)))
    barrier()
    return device


def barrier() -> None:
    """Wait for all processes, so that one can read the files of another."""
    if distributed.world().size > 1:
        torch.distributed.barrier()


def train_run(output: Path, model: Any, data: Sequences, config: TrainConfig, **options: Any) -> TrainResult:
    """Train a model with `llmguide.training.train.train`, with checkpoints in a run folder."""
    return train(model, data, config, folder=output / "checkpoints", **options)


def loggers(output: Path, config: Any = None, wandb: str | None = None) -> Loggers | None:
    """Record the hyperparameters of a training, and return its loggers; None in all processes but rank 0.

    Args:
        output: Run folder.
        config: Hyperparameters, a dataclass, for ``run.json``; None: they are recorded elsewhere.
        wandb: Project on Weights & Biases to log to as well.
    """
    if distributed.world().rank > 0:
        return None
    if config is not None:
        # infinity is no JSON
        record(output, training=json.loads(json.dumps(asdict(config)), parse_constant=str))
    tracker = [] if wandb is None else [WandbLogger(wandb, output)]
    return Loggers(JsonLinesLogger(output / "metrics.jsonl"), TensorBoardLogger(output / "logs"), *tracker)


def write_report(output: Path, content: dict[str, Any]) -> None:
    """Write the printed results to a file, in rank 0 only."""
    if distributed.world().rank == 0:
        write_json(output / "report.json", content)


def train_val_split(
    items: Iterable[tuple[str, Item]], held_out: float, what: str
) -> tuple[list[Item], list[Item]]:
    """Split items into training and validation by a hash of their names.

    If the fraction would hold out none, the first in the order of the hashes is, and that is printed.

    Args:
        items: Names and items.
        held_out: Fraction of the items that is held out.
        what: Name of the items in the messages.

    Raises:
        ValueError: The fraction is not at least 0 and below 1, or all items are held out.

    >>> train_val_split([(name, name.upper()) for name in "abcd"], 0.5, "letters")
    (['A'], ['B', 'C', 'D'])
    >>> train_val_split([(name, name.upper()) for name in "abcd"], 0.01, "letters")
    held out: 1 of the 4 letters, as --held-out 0.01 is none
    (['A', 'B', 'C'], ['D'])
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"--held-out {held_out:g} is a fraction: at least 0 and below 1")
    named = list(items)
    places = [position(name) for name, _ in named]
    limit = held_out * 2**64
    if held_out and places and limit <= min(places) < max(places):
        limit = min(places) + 1
        n_first = places.count(min(places))
        say(f"held out: {n_first} of the {len(named)} {what}, as --held-out {held_out:g} is none")
    train_side, validation = (
        [item for place, (_, item) in zip(places, named, strict=True) if (place < limit) is is_held_out]
        for is_held_out in (False, True)
    )
    if not train_side:
        raise ValueError(f"all {len(validation)} {what} are held out; give more, or a smaller --held-out")
    if held_out and not validation:
        say(f"none of the {len(named)} {what} are held out, because all have the same prompt")
    return train_side, validation


def drop_too_long(examples: Sequence[Item | None], what: str, length: int) -> list[Item]:
    """Drop the examples that are None because they were too long, and print how many.

    Args:
        examples: Encoded examples, None for those that are too long.
        what: Name of the examples in the message.
        length: Most tokens of an example.

    Raises:
        ValueError: All examples are too long.
    """
    items = [item for item in examples if item is not None]
    if len(items) < len(examples):
        say(f"dropped {len(examples) - len(items)} of {len(examples)} {what}: longer than {length} tokens")
    if not items:
        other = "--max-new-tokens" if what == "prompts" else "--context-length"
        raise ValueError(
            f"no {what} of at most {length} tokens; give shorter ones, or change --max-length or {other}"
        )
    return items


def describe(model: Any, device: torch.device, work: str) -> None:
    """Print the number of trainable parameters, the device, and the number of steps."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    say(f"model: {n_params(model):,} parameters, {trained:,} of them trained, on {device}; {work}")
