"""Exercises of the attention chapter: the formula, its masks, its heads."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.nn.attention import attention
from llmguide.nn.masks import causal_mask, sliding_window_mask

# ---- the formula -----------------------------------------------------------------------------------


def _hidden(scores: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, scores, -torch.inf)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    power: float = -0.5,
    axis: int = -1,
    hide: Callable[[Tensor, Tensor], Tensor] = _hidden,
) -> Tensor:
    """Compute attention, with switches for the mistakes."""
    scores: Tensor = q @ k.mT * q.shape[-1] ** power
    if mask is not None:
        scores = hide(scores, mask)
    weights: Tensor = scores.softmax(dim=axis)
    return weights @ v


def _mask_after_softmax(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    weights: Tensor = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)
    return (weights if mask is None else weights * mask) @ v


def _attention_probes() -> list[Arguments]:
    q, k, v = noise(0, 2, 2, 3, 6), noise(1, 2, 2, 4, 6), noise(2, 2, 2, 4, 5)
    # no row and no column is wholly hidden or wholly seen, so that no mutant gives nan
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]], dtype=torch.bool)
    return [(2 * q, k, v), (2 * q, k, v, mask)]


# ---- masks -----------------------------------------------------------------------------------------


def _triangle(T_q: int, T_k: int, offset: int = 0) -> Tensor:
    return torch.ones(T_q, T_k).tril(T_k - T_q + offset).bool()


def _band(T: int, window: int, *, before: int = 0, causal: bool = True) -> Tensor:
    distance = torch.arange(T)[:, None] - torch.arange(T)
    near = distance.abs() < window + before
    return near & (distance >= 0) if causal else near


# ---- heads -----------------------------------------------------------------------------------------


def _split(x: Tensor, n_heads: int) -> Tensor:
    B, T, D = x.shape
    return x.view(B, T, n_heads, D // n_heads).transpose(1, 2)


EXERCISES = (
    Exercise(
        "attention",
        "attention(q, k, v, mask=None) returns softmax(q k^T / sqrt(E)) v for any leading axes. `mask` is "
        "True where a query may attend.",
        lambda q, k, v, mask=None: attention(q, k, v, mask)[0],
        _attention_probes,
        (
            Mistake(
                "missing 1/sqrt(d)",
                "the scores are not divided by the square root of the key width",
                "The dot product of two vectors of width E has a standard deviation of sqrt(E).",
                partial(_attend, power=0.0),
            ),
            Mistake(
                "divided by d",
                "the scores are divided by the key width instead of its square root",
                "Variances add, standard deviations do not.",
                partial(_attend, power=-1.0),
            ),
            Mistake(
                "softmax over the wrong axis",
                "the softmax runs over the queries",
                "The weights of one query sum to 1, so use the last axis, that of the keys.",
                partial(_attend, axis=-2),
            ),
            Mistake(
                "mask inverted",
                "keys are hidden where the mask is True",
                "True means may attend here. torch's key_padding_mask means the opposite.",
                partial(_attend, hide=lambda scores, mask: scores.masked_fill(mask, -torch.inf)),
            ),
            Mistake(
                "hidden scores set to 0",
                "hidden keys get the score 0",
                "The exponential of 0 is 1. A hidden key needs minus infinity.",
                partial(_attend, hide=torch.mul),
            ),
            Mistake(
                "mask after the softmax",
                "the weights are masked after the softmax, so that rows no longer sum to 1",
                "Mask the scores, and the softmax shares the weight among the keys that are left.",
                _mask_after_softmax,
            ),
            Mistake(
                "mask ignored",
                "the mask is not used",
                "Use masked_fill(~mask, -torch.inf) on the scores.",
                lambda q, k, v, mask=None: _attend(q, k, v),
            ),
        ),
        ("Four steps: compare, scale, softmax, average.", "scores = q @ k.mT / q.shape[-1] ** 0.5"),
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "causal-mask",
        "causal_mask(T_q, T_k) returns a boolean (T_q, T_k), True where a query may attend. The queries are "
        "the last T_q of T_k positions.",
        causal_mask,
        lambda: [(4, 4), (2, 5), (1, 3)],
        (
            Mistake(
                "mask off by one, hides itself",
                "a position does not see itself",
                "Position t predicts token t + 1, so it may use token t. The first position would see "
                "nothing.",
                lambda T_q, T_k: _triangle(T_q, T_k, -1),
            ),
            Mistake(
                "mask off by one, sees the next token",
                "a position sees the token that it has to predict",
                "The loss would fall to nearly 0, and generation would be nonsense.",
                lambda T_q, T_k: _triangle(T_q, T_k, 1),
            ),
            Mistake(
                "mask inverted",
                "True marks the keys that are hidden",
                "Here True means may attend.",
                lambda T_q, T_k: ~_triangle(T_q, T_k),
            ),
            Mistake(
                "mask transposed",
                "a position sees the future instead of the past",
                "Rows are queries, columns are keys: tril, not triu.",
                lambda T_q, T_k: (
                    _triangle(T_q, T_k, -1).logical_not() | torch.eye(T_q, T_k, dtype=torch.bool)
                ),
            ),
            Mistake(
                "aligned at the top left",
                "the first query is at the position of the first key, although keys are cached before it",
                "With a cache, query i is at position T_k - T_q + i.",
                lambda T_q, T_k: torch.ones(T_q, T_k).tril().bool(),
            ),
        ),
        ("torch.ones(T_q, T_k).tril(offset): which offset?", "The last query sees every key."),
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "sliding-window",
        "sliding_window_mask(T, window) returns a boolean (T, T): each position sees the last `window` "
        "positions, itself included.",
        lambda T, window: sliding_window_mask(T, window=window),
        lambda: [(6, 3), (5, 1), (4, 2)],
        (
            Mistake(
                "window one too wide",
                "a position sees itself and `window` more",
                "The window includes the position itself; with 1 only the diagonal is left.",
                partial(_band, before=1),
            ),
            Mistake(
                "window one too narrow",
                "the window has one key too few",
                "Count the True entries of the last row: there should be `window`.",
                partial(_band, before=-1),
            ),
            Mistake(
                "sees the future",
                "the window reaches to both sides",
                "It is causal: combine it with the causal mask.",
                partial(_band, causal=False),
            ),
            Mistake(
                "only causal",
                "the window is ignored",
                "Hide keys that are `window` or more positions back.",
                lambda T, window: causal_mask(T),
            ),
        ),
        ("Let distance be query minus key.", "0 <= distance < window."),
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "split-heads",
        "split_heads(x, n_heads) cuts (B, T, D) into (B, n_heads, T, D / n_heads); head h gets the h-th run "
        "of neighboring components.",
        _split,
        lambda: [(noise(3, 2, 6, 12), 3), (noise(4, 1, 4, 8), 2)],
        (
            Mistake(
                "view without transpose",
                "the axes are reshaped to (B, H, T, E) at once, which mixes tokens",
                "First view as (B, T, H, E), then swap T and H.",
                lambda x, n_heads: x.reshape(len(x), n_heads, x.shape[1], -1),
            ),
            Mistake(
                "heads interleaved",
                "every n-th component goes to the same head",
                "unflatten(-1, (n_heads, -1)): the head comes before the component.",
                lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).movedim(-1, 1),
            ),
            Mistake(
                "heads stay behind the tokens",
                "the shape is (B, T, H, E)",
                "Swap axes 1 and 2.",
                lambda x, n_heads: x.unflatten(-1, (n_heads, -1)),
            ),
        ),
        ("Two steps: unflatten and transpose.",),
        level="warm-up",
        minutes=10,
    ),
)
