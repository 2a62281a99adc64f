"""Parts of the assignments about data and what it trains: freezing and sharding."""

from collections.abc import Sequence
from functools import partial

import torch

from llmguide.exercises.definition import Exercise, Mistake


def _trainable(
    names: Sequence[str], n_layers: int, *, embeddings: bool = False, upper: bool = True
) -> list[str]:
    """List the names of the parameters that are not frozen, with switches for the mistakes."""

    def is_trained(name: str) -> bool:
        first, *rest = name.split(".")
        if first == "blocks":
            return (int(rest[0]) >= n_layers // 2) == upper
        return embeddings or first != "tokens"

    return [name for name in names if is_trained(name)]


def _rank_batch(
    order: Sequence[int],
    step: int,
    batch_size: int,
    rank: int,
    world: int,
    *,
    per_step: bool = True,
    by_rank: bool = True,
    shuffled: bool = True,
) -> list[int]:
    """List the examples that one process reads in a step, with switches for the mistakes."""
    start = step * batch_size * (world if per_step else 1) + batch_size * rank * by_rank
    rows = range(start, start + batch_size)
    return [order[i] for i in rows] if shuffled else list(rows)


DATA_PARTS = (
    Exercise(
        "freeze",
        "trainable(names, n_layers) returns the list of the parameter names that stay trainable, in the "
        "given order. The embeddings and the lower half of the blocks are frozen; everything else is "
        "trained. Names of embeddings begin with 'tokens.', and names of block i, counted from 0, begin with "
        "'blocks.i.'. The lower half are the first n_layers // 2 blocks.",
        _trainable,
        lambda: [
            (
                [
                    "tokens.weight",
                    *(f"blocks.{i}.up.weight" for i in range(12)),
                    "norm.weight",
                    "head.weight",
                ],
                12,
            ),
            (["tokens.weight", "blocks.0.q", "blocks.1.q", "blocks.2.q", "head.weight"], 3),
        ],
        (
            Mistake(
                "embeddings trained",
                "the embeddings stay trainable",
                "The embeddings are below the first trained block. Freeze them too.",
                partial(_trainable, embeddings=True),
            ),
            Mistake(
                "upper half frozen",
                "the upper half of the blocks is frozen",
                "Freeze the lower half. Lower layers tend to compute more general features.",
                partial(_trainable, upper=False),
            ),
            Mistake(
                "head frozen",
                "the final norm and the output head are frozen",
                "Only the embeddings and the lower half of the blocks are frozen.",
                lambda names, n_layers: [
                    name for name in _trainable(names, n_layers) if name.startswith("blocks.")
                ],
            ),
            Mistake(
                "middle block frozen",
                "half of an odd number of blocks is rounded up",
                "The lower half are the first n_layers // 2 blocks.",
                lambda names, n_layers: _trainable(names, n_layers + n_layers % 2),
            ),
            Mistake(
                "numbers compared as text",
                "block numbers are compared as strings, so that block 10 counts as lower than block 6",
                "Convert the block number to an int. As strings, '10' < '6'.",
                lambda names, n_layers: [
                    name
                    for name in names
                    if not name.startswith("tokens.")
                    and (not name.startswith("blocks.") or name.split(".")[1] >= str(n_layers // 2))
                ],
            ),
        ),
        ("name.split('.')[1] is the number of the block, as a string.",),
    ),
    Exercise(
        "rank-batch",
        "rank_batch(order, step, batch_size, rank, world) returns the list of the indices of the examples "
        "that one of `world` processes reads in a step. `order` is a shuffled list of the indices of all "
        "examples. Each step, counted from 0, uses the next world * batch_size entries of it: rank 0 gets "
        "the first batch_size of them, rank 1 the next batch_size, and so on. The list is long enough for "
        "the step.",
        _rank_batch,
        lambda: [
            (torch.randperm(24, generator=torch.Generator().manual_seed(0)).tolist(), *rest)
            for rest in ((0, 3, 1, 2), (2, 2, 2, 4), (1, 2, 1, 3))
        ],
        (
            Mistake(
                "same data on all ranks",
                "every process reads the same examples",
                "Processes that read the same data only repeat each other's work. Add rank * batch_size to "
                "the start.",
                partial(_rank_batch, by_rank=False),
            ),
            Mistake(
                "steps overlap",
                "a step starts after batch_size examples, so that ranks repeat each other's examples",
                "Each step uses world * batch_size examples.",
                partial(_rank_batch, per_step=False),
            ),
            Mistake(
                "not shuffled",
                "positions in `order` are returned instead of the entries at these positions",
                "Look up each position in `order`.",
                partial(_rank_batch, shuffled=False),
            ),
            Mistake(
                "every world-th example",
                "a rank reads every world-th entry of `order`, as DistributedSampler does",
                "Here the batch of a rank is contiguous: batch_size entries one after another.",
                lambda order, step, batch_size, rank, world: order[rank::world][
                    step * batch_size : (step + 1) * batch_size
                ],
            ),
            Mistake(
                "one part of the data for each rank",
                "`order` is first divided among the ranks, and each reads its own part from the start",
                "Here a step reads the next world * batch_size entries, and the ranks divide those.",
                lambda order, step, batch_size, rank, world: order[rank * (len(order) // world) :][
                    step * batch_size : (step + 1) * batch_size
                ],
            ),
        ),
        ("start = step * world * batch_size + rank * batch_size",),
    ),
)
