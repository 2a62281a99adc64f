"""An exercise of sharded training: the ZeRO stage that fits."""

from collections.abc import Sequence
from functools import partial

from llmguide.costs.memory import model_state_bytes
from llmguide.exercises.definition import Exercise, Mistake

Sharded = Sequence[tuple[float, int]]  # bytes per parameter, and the first stage that shards them
PARTS: Sharded = ((12, 1), (2, 2), (2, 3))


def zero_stage(n_params: float, n_devices: int, memory: float) -> int | None:
    """Find the first ZeRO stage at which the model state fits.

    >>> zero_stage(7e9, 8, 80e9)  # 112 GB without sharding, 38.5 GB in stage 1
    1
    """
    for stage in range(4):
        if sum(model_state_bytes(n_params, zero_stage=stage, n_devices=n_devices).values()) <= memory:
            return stage
    return None


def _stage(
    n_params: float,
    n_devices: int,
    memory: float,
    *,
    parts: Sharded = PARTS,
    alone: bool = False,
    below: bool = False,
    none: int | None = None,
) -> int | None:
    """Find the stage from the bytes of each part, with switches for the mistakes."""
    for stage in range(4):
        size = 0.0
        for n_bytes, first in parts:
            is_sharded = first == stage if alone else first <= stage
            size += n_params * (n_bytes / n_devices if is_sharded else n_bytes)
        if size < memory or (size == memory and not below):
            return stage
    return none


EXERCISES = (
    Exercise(
        "zero-stage",
        "zero_stage(n_params, n_devices, memory) returns the first stage of ZeRO, from 0 to 3, at which the "
        "state of a model fits into `memory` bytes on each device, or None if there is none. The state is "
        "that of training with Adam in mixed precision: weights and gradients in 16 bits, and in 32 bits a "
        "copy of the weights and both moments. A later stage shards over the devices all that an earlier "
        "one does and one part more.",
        zero_stage,
        lambda: [
            (n_params, 8, memory)
            for n_params, memory in (
                (1e9, 16e9),
                (1e9, 15e9),
                (1e9, 5.4e9),
                (1e9, 5.6e9),
                (1e9, 3.75e9),
                (1e9, 3.7e9),
                (1e9, 1.9e9),
                (7e9, 80e9),
                (7e9, 16e9),
                (1e9, 11e9),
                (1e9, 4.6e9),
                (1e9, 1.6e9),
            )
        ],
        (
            Mistake(
                "weights sharded first",
                "stage 1 shards the weights and stage 3 the optimizer state",
                "ZeRO starts with what is largest and needed least often.",
                partial(_stage, parts=((12, 3), (2, 2), (2, 1))),
            ),
            Mistake(
                "no copy in 32 bits",
                "the optimizer keeps two moments and no copy of the weights",
                "Small updates would be lost in 16 bits, so the optimizer has its own copy: 12 bytes.",
                partial(_stage, parts=((8, 1), (2, 2), (2, 3))),
            ),
            Mistake(
                "all in 32 bits",
                "weights and gradients have 32 bits, and there is no copy",
                "The sum is the same, but not the parts: 2 + 2 bytes in 16 bits, and 12 for the optimizer.",
                partial(_stage, parts=((8, 1), (4, 2), (4, 3))),
            ),
            Mistake(
                "one part sharded",
                "each stage shards only its own part",
                "Stage 2 shards the optimizer state as well, and stage 3 everything.",
                partial(_stage, alone=True),
            ),
            Mistake(
                "3 for impossible",
                "stage 3 is returned if nothing fits",
                "Even sharded, the state can be too large. Then return None.",
                partial(_stage, none=3),
            ),
            Mistake(
                "exact fit rejected",
                "a state that fills the memory exactly does not fit",
                "It fits if its size is at most the memory.",
                partial(_stage, below=True),
            ),
        ),
        (
            "How many bytes per parameter has each of the three parts: weights, gradients, optimizer?",
            "Stage 1 shards the optimizer state, stage 2 the gradients too, stage 3 the weights too.",
            "Go through the stages in order, and return the first one whose sum fits.",
        ),
        level="medium",
        minutes=10,
        after="Stages 1 and 2 cost no more communication than plain data parallelism. Stage 3 gathers the "
        "weights twice, which makes it half as much again.",
    ),
)
