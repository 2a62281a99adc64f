"""An exercise of FlashAttention: causal attention, tile by tile."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.tensor_work import TensorWork
from llmguide.nn.attention import attention


def flash_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    block: int,
    *,
    power: float = -0.5,
    skip: bool = True,
    masked: bool = True,
    rescaled: bool = True,
    rescaled_sum: bool = True,
    shifted: bool = True,
    own: bool = False,
) -> Tensor:
    """Compute causal attention tile by tile, with switches for the mistakes."""
    (T, E), outputs = q.shape, []
    positions = torch.arange(T)
    for start in range(0, T, block):
        rows = slice(start, start + block)
        largest = q.new_full((len(q[rows]), 1), -torch.inf if shifted else 0.0)
        total, output = torch.zeros_like(largest), torch.zeros_like(v[rows])
        for first in range(0, start + 1 if skip else T, block):
            columns = slice(first, first + block)
            scores = q[rows] @ k[columns].T * E**power
            if masked:
                scores = scores.masked_fill(positions[columns] > positions[rows, None], -torch.inf)
            new = torch.maximum(largest, scores.amax(-1, keepdim=True)) if shifted else largest
            top = scores.amax(-1, keepdim=True) if own else new
            weights, factor = (scores - top).exp(), (largest - new).exp()
            total = total * (factor if rescaled_sum else 1.0) + weights.sum(-1, keepdim=True)
            output = output * (factor if rescaled else 1.0) + weights @ v[columns]
            largest = new
        outputs.append(output / total)
    return torch.cat(outputs)


def _tiles_averaged(q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
    """Average the attention of each tile by itself."""
    outputs = []
    for start in range(0, len(q), block):
        rows = slice(start, start + block)
        tiles = [attention(q[rows], k[i : i + block], v[i : i + block])[0] for i in range(0, start, block)]
        own = torch.ones(len(q[rows]), len(q[rows]), dtype=torch.bool).tril()
        tiles.append(attention(q[rows], k[rows], v[rows], own)[0])
        outputs.append(torch.stack(tiles).mean(0))
    return torch.cat(outputs)


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention(q, k, v, torch.ones(len(q), len(k), dtype=torch.bool).tril())[0]


def _with_tiles(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe the output, and whether the matrix products stay within the tiles that are needed."""
    q, _, _, block = arguments
    with TensorWork() as needed:
        flash_attention(*arguments)
    with TensorWork() as work:
        result = function(*arguments)
    if work.largest_product > block * max(block, q.shape[-1]):
        return result, "a product is larger than a tile"
    return result, "tiles of the future too" if work.products > 1.25 * needed.products else "tiles needed"


def _flash_probes() -> list[Arguments]:
    q, k, v = noise(20, 11, 3), noise(21, 11, 3), noise(22, 11, 3)
    return [(2 * q, k, v, 3), (300 * q[:8], k[:8], v[:8], 2)]


EXERCISES = (
    Exercise(
        "flash-attention",
        "flash_attention(q, k, v, block) returns the output (T, E) of causal scaled dot-product attention "
        "for q, k and v (T, E), exactly. Cut the queries and the keys into blocks of `block` tokens; the "
        "last one may be shorter. No matrix product may have more than block * max(block, E) entries, and "
        "none may be computed for a block of keys whose tokens are all in the future of the block of "
        "queries. The test counts both. Scores can be in the hundreds. Do not use torch's fused attention.",
        flash_attention,
        _flash_probes,
        (
            Mistake(
                "whole score matrix",
                "all scores of a query are computed at once",
                "The output is right, but the memory grows with the length of the text. Read the keys block "
                "by block, and keep a running maximum, sum and output for each query.",
                lambda q, k, v, block: _causal(q, k, v),
            ),
            Mistake(
                "future tiles computed",
                "every block of queries meets every block of keys",
                "The output is right, but nearly half of the tiles are hidden altogether. Stop the inner "
                "loop at the diagonal.",
                partial(flash_attention, skip=False),
            ),
            Mistake(
                "diagonal tile not masked",
                "queries see the later tokens of their own block",
                "The tile on the diagonal is partly in the future: mask it.",
                partial(flash_attention, masked=False),
            ),
            Mistake(
                "nothing rescaled",
                "the running sum and output stay as they are when the maximum grows",
                "They are relative to the old maximum. Multiply both by e ** (old maximum - new maximum).",
                partial(flash_attention, rescaled=False, rescaled_sum=False),
            ),
            Mistake(
                "output not rescaled",
                "the running sum is rescaled, but not the running output",
                "Both are relative to the same maximum.",
                partial(flash_attention, rescaled=False),
            ),
            Mistake(
                "softmax of each tile",
                "each tile has a softmax of its own, and the results are averaged",
                "A tile with large scores must count more. Divide once, after the last tile.",
                _tiles_averaged,
            ),
            Mistake(
                "overflow",
                "the exponentials of large scores overflow",
                "Subtract the running maximum of each query before the exponential.",
                partial(flash_attention, shifted=False),
            ),
            Mistake(
                "missing 1/sqrt(d)",
                "the scores are not divided by the square root of the width",
                "Scale each tile of scores.",
                partial(flash_attention, power=0.0),
            ),
            Mistake(
                "not causal",
                "every query sees all keys",
                "A query may attend to keys at its own and at earlier positions only.",
                lambda q, k, v, block: attention(q, k, v)[0],
            ),
            Mistake(
                "sum of softmaxes",
                "each tile has a softmax of its own, and the results are added",
                "The weights of a query sum to 1 over all tiles. Divide once, after the last tile.",
                lambda q, k, v, block: (
                    _tiles_averaged(q, k, v, block) * (1 + torch.arange(len(q)) // block)[:, None]
                ),
            ),
            Mistake(
                "sum not rescaled",
                "the running output is rescaled, but not the running sum",
                "Both are relative to the same maximum.",
                partial(flash_attention, rescaled_sum=False),
            ),
            Mistake(
                "maximum of the tile",
                "the exponentials of a tile are relative to its own maximum",
                "Subtract the running maximum, so that all tiles of a query have the same scale.",
                partial(flash_attention, own=True),
            ),
        ),
        (
            "Which three quantities per query are enough to add another block of keys later?",
            "Keep the largest score so far, the sum of the exponentials relative to it, and the sum of the "
            "values with the same weights. What happens to both sums when a block has a larger score?",
            "The outer loop runs over blocks of queries, the inner one over blocks of keys up to the same "
            "block. Divide the weighted sum by the sum of the weights after the inner loop.",
        ),
        level="hard",
        minutes=40,
        after="This is the loop of FlashAttention. A GPU kernel keeps the tiles in fast on-chip memory, and "
        "the backward pass computes them again from the maximum and the sum of each row.",
        observe=_with_tiles,
    ),
)
