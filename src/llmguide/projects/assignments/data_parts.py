"""Parts of the assignments about data and measures: what is read, by whom, and how it is scored."""

from collections.abc import Sequence
from functools import partial
from math import log

import torch

from llmguide.exercises.grading import Exercise, Mistake

# ---- measures and data -----------------------------------------------------------------------------


def _bits_per_byte(nats: float, text: str) -> float:
    return nats / log(2) / len(text.encode())


def _trainable(
    names: Sequence[str], n_layers: int, *, embeddings: bool = False, upper: bool = True
) -> list[str]:
    """List the parameters that are not frozen, with switches for the mistakes."""

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
    """List the examples of one process, with switches for the mistakes."""
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
        "bits_per_byte(nats, text): bits per UTF-8 byte of a text, from its negative log-likelihood in nats, "
        "summed over its tokens.",
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
                "A character of UTF-8 has one to four bytes: len(text.encode()).",
                lambda nats, text: nats / log(2) / len(text),
            ),
            Mistake(
                "multiplied by ln 2",
                "the nats are multiplied by ln 2",
                "One nat is 1.44 bits: divide.",
                lambda nats, text: nats * log(2) / len(text.encode()),
            ),
        ),
        ("nats / ln 2 / bytes",),
    ),
    Exercise(
        "freeze",
        "trainable(names, n_layers): the parameter names that stay trainable if the embeddings (names that "
        "begin with 'tokens.') and the lower half of the blocks ('blocks.0.' and so on; n_layers // 2 of "
        "them) are frozen, in the given order.",
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
                "Freeze what is below the first trained block, too.",
                partial(_trainable, embeddings=True),
            ),
            Mistake(
                "upper half frozen",
                "the upper half of the blocks is frozen",
                "The lower layers are kept, because they are the more general ones.",
                partial(_trainable, upper=False),
            ),
            Mistake(
                "numbers compared as text",
                "block 10 is taken for a lower one than block 6",
                "Convert the number to int: as texts, '10' < '6'.",
                lambda names, n_layers: [
                    name
                    for name in names
                    if not name.startswith("tokens.")
                    and (not name.startswith("blocks.") or name.split(".")[1] >= str(n_layers // 2))
                ],
            ),
        ),
        ("name.split('.')[1] is the number of the block, as text.",),
    ),
    Exercise(
        "rank-batch",
        "rank_batch(order, step, batch_size, rank, world): the examples that one of `world` processes "
        "reads in "
        "a step. `order` is the shuffled order of all examples. Each step takes the next world * batch_size "
        "of them; rank 0 gets the first batch_size, rank 1 the next ones, and so on.",
        _rank_batch,
        lambda: [
            (torch.randperm(24, generator=torch.Generator().manual_seed(0)).tolist(), *rest)
            for rest in ((0, 3, 1, 2), (2, 2, 2, 4))
        ],
        (
            Mistake(
                "same data on all ranks",
                "every process reads the same examples",
                "With equal data, more processes do not see more text. Offset by rank * batch_size.",
                partial(_rank_batch, by_rank=False),
            ),
            Mistake(
                "steps overlap",
                "a step begins where the first process stopped, so that ranks repeat each other's examples",
                "A step uses world * batch_size examples.",
                partial(_rank_batch, per_step=False),
            ),
            Mistake(
                "not shuffled",
                "positions are returned instead of the examples at these positions",
                "Look them up in `order`.",
                partial(_rank_batch, shuffled=False),
            ),
        ),
        ("start = step * world * batch_size + rank * batch_size",),
    ),
    Exercise(
        "choose-continuation",
        "choose(logprobs, n_bytes): the index of the continuation that a model chooses in a benchmark such "
        "as HellaSwag: the one with the highest log-probability per byte.",
        _choose,
        lambda: [([-10.0, -12.0, -9.0], [10, 30, 5]), ([-4.0, -9.0], [2, 9]), ([-3.0, -5.0], [9, 10])],
        (
            Mistake(
                "not normalized",
                "the total log-probabilities are compared",
                "A longer text has a lower total. Divide by its length.",
                partial(_choose, power=0.0),
            ),
            Mistake(
                "least likely",
                "the lowest log-probability per byte wins",
                "Log-probabilities are negative; the highest is the one nearest to 0.",
                partial(_choose, sign=-1),
            ),
        ),
        ("max over logprob / n",),
    ),
    Exercise(
        "extrapolate-loss",
        "extrapolate(c1, loss1, c2, loss2, c): the loss that the power law loss = a * compute ** -b "
        "through two runs predicts at compute c.",
        _extrapolate,
        lambda: [(1e15, 4.0, 4e15, 3.5, 1.6e16), (1e18, 3.2, 1e19, 2.9, 1e22)],
        (
            Mistake(
                "straight line in the compute",
                "the loss falls by the same amount per FLOP",
                "A power law is a straight line between the logarithms of both.",
                lambda c1, loss1, c2, loss2, c: loss2 + (loss2 - loss1) * (c - c2) / (c2 - c1),
            ),
            Mistake(
                "straight line in log compute",
                "the logarithm of the compute is taken, but not that of the loss",
                "Take both logarithms.",
                lambda c1, loss1, c2, loss2, c: loss2 + (loss2 - loss1) * log(c / c2) / log(c2 / c1),
            ),
            Mistake(
                "sign of the exponent",
                "the loss rises with compute",
                "The slope log(loss2 / loss1) / log(c2 / c1) is negative.",
                lambda c1, loss1, c2, loss2, c: loss2 * (c / c2) ** (-log(loss2 / loss1) / log(c2 / c1)),
            ),
        ),
        ("The slope between the two points on log-log paper is -b.",),
    ),
)
