"""Parts of the assignments about data and evaluation: sharding, freezing, metrics and scaling laws."""

from collections.abc import Sequence
from functools import partial
from math import log

import torch

from llmguide.exercises.definition import Exercise, Mistake

# ---- metrics and data ------------------------------------------------------------------------------


def _bits_per_byte(nats: float, text: str) -> float:
    return nats / log(2) / len(text.encode())


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


def _choose(logprobs: Sequence[float], n_bytes: Sequence[int], *, power: float = 1.0, sign: int = 1) -> int:
    scores = [sign * logprob / n**power for logprob, n in zip(logprobs, n_bytes, strict=True)]
    return scores.index(max(scores))


def _extrapolate(c1: float, loss1: float, c2: float, loss2: float, c: float) -> float:
    slope: float = log(loss2 / loss1) / log(c2 / c1)
    predicted: float = loss2 * (c / c2) ** slope
    return predicted


DATA_PARTS = (
    Exercise(
        "bits-per-byte",
        "bits_per_byte(nats, text) returns the bits per UTF-8 byte of the string `text`. `nats` is the "
        "negative log-likelihood of the text in nats, summed over its tokens.",
        _bits_per_byte,
        lambda: [(12.5, "na\u00efve \u4e2d"), (3.0, "plain")],
        (
            Mistake(
                "nats for bits",
                "the result is in nats",
                "A bit is ln 2 nats.",
                lambda nats, text: nats / len(text.encode()),
            ),
            Mistake(
                "per character",
                "the sum is divided by the number of characters",
                "In UTF-8, a character has one to four bytes. The number of bytes is len(text.encode()).",
                lambda nats, text: nats / log(2) / len(text),
            ),
            Mistake(
                "multiplied by ln 2",
                "the nats are multiplied by ln 2",
                "One nat is 1.44 bits, so divide by ln 2.",
                lambda nats, text: nats * log(2) / len(text.encode()),
            ),
        ),
        ("nats / ln 2 / bytes",),
    ),
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
            for rest in ((0, 3, 1, 2), (2, 2, 2, 4))
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
        ),
        ("start = step * world * batch_size + rank * batch_size",),
    ),
    Exercise(
        "choose-continuation",
        "choose(logprobs, n_bytes) returns the index of the continuation that a model chooses in a benchmark "
        "such as HellaSwag: the one with the highest log-probability per byte. `logprobs` has the total "
        "log-probability of each continuation, and `n_bytes` its length in bytes.",
        _choose,
        lambda: [([-10.0, -12.0, -9.0], [10, 30, 5]), ([-4.0, -9.0], [2, 9]), ([-3.0, -5.0], [9, 10])],
        (
            Mistake(
                "not normalized",
                "the total log-probabilities are compared",
                "A longer text usually has a lower total. Divide by its number of bytes.",
                partial(_choose, power=0.0),
            ),
            Mistake(
                "least likely",
                "the continuation with the lowest log-probability per byte is chosen",
                "Log-probabilities are negative, so the highest is the one nearest to 0.",
                partial(_choose, sign=-1),
            ),
        ),
        ("Take the index of the maximum of logprob / n.",),
    ),
    Exercise(
        "extrapolate-loss",
        "extrapolate(c1, loss1, c2, loss2, c) returns the loss that a power law predicts for a run with "
        "compute c, in FLOPs. The power law is loss = a * compute ** -b. It goes through two runs: one with "
        "compute c1 and loss loss1, the other with compute c2 and loss loss2.",
        _extrapolate,
        lambda: [(1e15, 4.0, 4e15, 3.5, 1.6e16), (1e18, 3.2, 1e19, 2.9, 1e22)],
        (
            Mistake(
                "straight line in the compute",
                "the loss is extrapolated linearly in the compute",
                "A power law is a straight line if you plot log(loss) against log(compute).",
                lambda c1, loss1, c2, loss2, c: loss2 + (loss2 - loss1) * (c - c2) / (c2 - c1),
            ),
            Mistake(
                "straight line in log compute",
                "the logarithm of the compute is taken, but not that of the loss",
                "Take the logarithm of the loss as well.",
                lambda c1, loss1, c2, loss2, c: loss2 + (loss2 - loss1) * log(c / c2) / log(c2 / c1),
            ),
            Mistake(
                "sign of the exponent",
                "the exponent has the wrong sign, so that the predicted loss rises with compute",
                "The slope log(loss2 / loss1) / log(c2 / c1) is negative.",
                lambda c1, loss1, c2, loss2, c: loss2 * (c / c2) ** (-log(loss2 / loss1) / log(c2 / c1)),
            ),
        ),
        ("The slope of the line between the two points in a log-log plot is -b.",),
    ),
)
