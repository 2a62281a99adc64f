"""Exercises of grouped-query attention: repeated heads, decoding without copies."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.tensor_work import TensorWork


def grouped_decode(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor,
    *,
    tiled: bool = False,
    hide: Callable[[Tensor, Tensor], Tensor] = lambda scores, mask: torch.where(mask, scores, -torch.inf),
    more: int = 0,
    power: float = -0.5,
    axis: int = -1,
) -> Tensor:
    """Compute one decoding step of grouped-query attention, with switches for the mistakes."""
    (B, H, E), K = q.shape, k.shape[1]
    groups = q.view(B, H // K, K, E).transpose(1, 2) if tiled else q.view(B, K, H // K, E)
    mask = torch.arange(k.shape[2]) < lengths[:, None, None, None] + more
    output = hide(groups @ k.mT * E**power, mask).softmax(axis) @ v
    return (output.transpose(1, 2) if tiled else output).reshape(B, H, E)


def _mask_after_softmax(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    is_token = torch.arange(k.shape[2]) < lengths[:, None]
    return grouped_decode(q, k, v * is_token[:, None, :, None], torch.full_like(lengths, k.shape[2]))


def _keys_repeated(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    n = q.shape[1] // k.shape[1]
    return grouped_decode(q, k.repeat_interleave(n, dim=1), v.repeat_interleave(n, dim=1), lengths)


def _without_copies(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe the output, and whether a result is larger than the keys."""
    with TensorWork() as work:
        result = function(*arguments)
    return result, "a result larger than k" if work.largest > arguments[
        1
    ].numel() else "nothing larger than k"


def _decode_probes() -> list[Arguments]:
    shapes = (2, 6, 2, 5, 4), (1, 8, 2, 3, 8)
    return [
        (2 * noise(1, B, H, E), noise(2, B, K, T, E), noise(3, B, K, T, E), torch.tensor([T - 2, T - 1][:B]))
        for B, H, K, T, E in shapes
    ]


EXERCISES = (
    Exercise(
        "grouped-query",
        "repeat_heads(k, n_heads) turns keys (B, K, T, E) into (B, n_heads, T, E), so that each group of "
        "n_heads / K neighboring query heads uses the same key head.",
        lambda k, n_heads: k.repeat_interleave(n_heads // k.shape[1], dim=1),
        lambda: [(noise(5, 2, 2, 3, 4), 6), (noise(6, 1, 3, 2, 2), 6)],
        (
            Mistake(
                "tiled instead of repeated",
                "the key heads come in the order 0, 1, 0, 1 instead of 0, 0, 1, 1",
                "Tensor.repeat tiles; repeat_interleave keeps copies together.",
                lambda k, n_heads: k.repeat(1, n_heads // k.shape[1], 1, 1),
            ),
            Mistake(
                "repeated along the tokens",
                "the copies are along the axis of the tokens",
                "Axis 1 holds the heads.",
                lambda k, n_heads: k.repeat_interleave(n_heads // k.shape[1], dim=2),
            ),
            Mistake(
                "repeated n_heads times",
                "each key head is copied n_heads times",
                "n_heads / K copies of each give n_heads in all.",
                lambda k, n_heads: k.repeat_interleave(n_heads, dim=1),
            ),
        ),
        ("Query head h uses key head h // (n_heads // K).",),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "grouped-decode",
        "grouped_decode(q, k, v, lengths) returns the output (B, H, E) of attention in one decoding step. q "
        "(B, H, E) has one query for each sequence and head. k and v (B, K, T, E) are caches; sequence b "
        "has lengths[b] cached tokens, its newest one included, and the rest of its rows is padding. Each "
        "group of H / K neighboring query heads shares a key head. No tensor may become larger than k, so "
        "you cannot repeat the keys for the query heads; the test checks this.",
        grouped_decode,
        _decode_probes,
        (
            Mistake(
                "keys repeated",
                "each key and value is copied for every query head that uses it",
                "The output is right, but a decoding step is limited by the memory that it moves. Give the "
                "queries an axis for the group instead.",
                _keys_repeated,
            ),
            Mistake(
                "heads interleaved",
                "every K-th query head uses the same key head",
                "Query heads 0 to H / K - 1 use key head 0.",
                partial(grouped_decode, tiled=True),
            ),
            Mistake(
                "padding attended to",
                "the padding of shorter sequences gets attention",
                "Only the first lengths[b] tokens of a sequence exist.",
                partial(grouped_decode, hide=lambda scores, mask: scores),
            ),
            Mistake(
                "scores of padding set to 0",
                "padding gets the score 0",
                "The exponential of 0 is 1. Use minus infinity.",
                partial(grouped_decode, hide=torch.mul),
            ),
            Mistake(
                "one token too many",
                "the first row of padding is attended to",
                "Rows 0 to lengths[b] - 1 are tokens.",
                partial(grouped_decode, more=1),
            ),
            Mistake(
                "softmax over the wrong axis",
                "the softmax runs over the query heads of a group",
                "The weights of one query sum to 1 over the tokens, which are the last axis of the scores.",
                partial(grouped_decode, axis=-2),
            ),
            Mistake(
                "missing 1/sqrt(d)",
                "the scores are not divided by the square root of the width",
                "Scaled dot-product attention divides by the square root of the width of a head.",
                partial(grouped_decode, power=0.0),
            ),
            Mistake(
                "mask after the softmax",
                "the weights are masked after the softmax, so that they no longer sum to 1",
                "Mask the scores, before the softmax.",
                _mask_after_softmax,
            ),
        ),
        (
            "Reshape q so that it has an axis for the key head and one for the query heads of its group.",
            "With q as (B, K, H / K, E), the product with k.mT has the shape (B, K, H / K, T).",
            "Compare torch.arange(T) with the lengths, in a shape that fits the scores.",
        ),
        level="medium",
        minutes=20,
        after="The H / K queries of a group form a small matrix, so each key that is read from memory is "
        "used H / K times. This is the second gain of grouped-query attention, besides the smaller cache.",
        observe=_without_copies,
    ),
)
