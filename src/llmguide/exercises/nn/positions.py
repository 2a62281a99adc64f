"""Exercises of positions: RoPE, its two layouts, ALiBi."""

from functools import partial
from math import pi

import torch
from torch import Tensor

from llmguide.config.rope_scaling import Llama3Scaling
from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.nn.masks import causal_mask
from llmguide.nn.positions import alibi_bias
from llmguide.nn.rope import apply_rope, rope_frequencies, rope_tables

# ---- RoPE ------------------------------------------------------------------------------------------


def _rotate(
    x: Tensor, theta: float, *, first: int = 0, turn: int = 1, exponent: float = 2.0, layout: str = "half"
) -> Tensor:
    """Rotate pairs, with switches for the mistakes."""
    T, E = x.shape
    angles = torch.arange(first, first + T)[:, None] * theta ** (-exponent * torch.arange(E // 2) / E)
    return apply_rope(
        x, angles.cos(), turn * angles.sin(), layout="interleaved" if layout != "half" else "half"
    )


def _rope(x: Tensor, theta: float) -> Tensor:
    return apply_rope(x, *rope_tables(len(x), x.shape[-1], theta))


# ---- longer contexts -------------------------------------------------------------------------------


def _frequencies(E: int, theta: float, factor: float, original: int) -> Tensor:
    return rope_frequencies(E, theta, Llama3Scaling(factor, 1.0, 4.0, original))


def _scaled(
    E: int,
    theta: float,
    factor: float,
    original: int,
    *,
    turn: float = 2 * pi,
    swapped: bool = False,
    ramp: bool = True,
    of_periods: bool = False,
) -> Tensor:
    """Scale the frequencies of RoPE as Llama 3.1 does, with switches for the mistakes."""
    fast = theta ** -(torch.arange(0, E, 2) / E)
    turns = original * fast / turn
    kept = ((turns - 1) / 3).clamp(0, 1)
    if not ramp:
        kept = (turns >= 4).float()
    if swapped:
        kept = 1 - kept
    if of_periods:
        return 1 / (kept / fast + (1 - kept) * factor / fast)
    return kept * fast + (1 - kept) * fast / factor


def _frequency_probes() -> list[Arguments]:
    return [(16, 10_000.0, 4.0, 64), (12, 500.0, 8.0, 100)]


# ---- ALiBi -----------------------------------------------------------------------------------------


def _alibi(n_heads: int, T_q: int, T_k: int) -> Tensor:
    return alibi_bias(n_heads, T_q, T_k).masked_fill(~causal_mask(T_q, T_k), -torch.inf)


def _penalty(
    n_heads: int,
    T_q: int,
    T_k: int,
    *,
    first: int = 1,
    sign: int = 1,
    cached: bool = True,
    masked: bool = True,
    equal_steps: bool = False,
) -> Tensor:
    """Compute the ALiBi bias and the causal mask, with switches for the mistakes."""
    ratio = 2 ** (-8 / n_heads)
    slopes = torch.tensor([ratio**h for h in range(first, first + n_heads)])
    if equal_steps:
        slopes = ratio * (1 - torch.arange(n_heads) / n_heads)
    queries = torch.arange(T_q) + (T_k - T_q if cached else 0)
    distance = queries[:, None] - torch.arange(T_k)
    bias = -sign * slopes[:, None, None] * distance.abs()
    return bias.masked_fill(distance < 0, -torch.inf) if masked else bias


EXERCISES = (
    Exercise(
        "rope",
        "rope(x, theta) rotates the queries or keys x of shape (T, E) at positions 0 to T - 1. Pair i is "
        "made of the components i and i + E/2 and turns by position times theta ** (-2 i / E).",
        _rope,
        lambda: [(noise(3, 5, 8), 10_000.0), (noise(4, 3, 4), 100.0)],
        (
            Mistake(
                "interleaved layout",
                "neighboring components 2i and 2i + 1 form the pairs",
                "x.chunk(2, dim=-1) gives the two halves; x[..., 0::2] gives the other layout.",
                partial(_rotate, layout="interleaved"),
            ),
            Mistake(
                "rotates backwards",
                "the sine has the wrong sign",
                "(a, b) becomes (a cos - b sin, a sin + b cos).",
                partial(_rotate, turn=-1),
            ),
            Mistake(
                "positions from 1",
                "the first token is at position 1",
                "At position 0 nothing rotates. Scores hide it; a cache from another program does not.",
                partial(_rotate, first=1),
            ),
            Mistake(
                "frequencies too close",
                "the exponent is -i / E instead of -2i / E",
                "The slowest pair has nearly theta ** -1. There are E/2 pairs.",
                partial(_rotate, exponent=1.0),
            ),
        ),
        (
            "Angles: an outer product of positions and frequencies, shape (T, E/2).",
            "a, b = x.chunk(2, dim=-1).",
            "With the cosines and sines of the angles, the halves become a cos - b sin and a sin + b cos. "
            "Concatenate them.",
        ),
        level="medium",
        minutes=15,
    ),
    Exercise(
        "longer-rope",
        "rope_frequencies(E, theta, factor, original) returns the angle in radians by which each "
        "of the E/2 pairs of RoPE turns per position, the first pair fastest, after a model was extended as "
        "Llama 3.1 was. Before that, it was trained with the base theta on contexts of `original` tokens. "
        "A pair that makes at least 4 full turns in such a context keeps its frequency. One that makes "
        "at most 1 turn becomes `factor` times slower. In between, the frequency changes linearly with "
        "the number of turns, from the slower to the old one.",
        _frequencies,
        _frequency_probes,
        (
            Mistake(
                "all pairs slowed down",
                "every frequency is divided by the factor (position interpolation)",
                "Fast pairs tell neighbors apart and have seen all their angles in training. They stay.",
                lambda E, theta, factor, original: rope_frequencies(E, theta) / factor,
            ),
            Mistake(
                "fast pairs slowed down",
                "the pairs with many turns are slowed down, and those with few turns are kept",
                "A slow pair meets new angles in a longer context. It is the one to slow down.",
                partial(_scaled, swapped=True),
            ),
            Mistake(
                "radians for turns",
                "turns are counted as angles in radians",
                "A full turn has 2 pi radians.",
                partial(_scaled, turn=1.0),
            ),
            Mistake(
                "no transition",
                "all pairs with fewer than 4 turns are slowed down in full",
                "Between 1 and 4 turns, mix the old and the slower frequency.",
                partial(_scaled, ramp=False),
            ),
            Mistake(
                "periods mixed",
                "the periods change linearly, not the frequencies",
                "Mix the two frequencies. The mean of two periods is not the inverse of the mean frequency.",
                partial(_scaled, of_periods=True),
            ),
            Mistake(
                "base multiplied",
                "the base theta is multiplied by the factor",
                "A larger base slows down every pair but the first. Here the number of turns decides.",
                lambda E, theta, factor, original: rope_frequencies(E, theta * factor),
            ),
            Mistake(
                "frequencies too close",
                "the frequencies are theta ** (-i / E) instead of theta ** (-2 i / E)",
                "There are E / 2 pairs, and the slowest one has nearly 1 / theta.",
                lambda E, theta, factor, original: _frequencies(E, theta**0.5, factor, original),
            ),
        ),
        (
            "First compute the frequencies without the extension. How many turns does each make?",
            "Compute a weight for each pair: 1 where the frequency stays, 0 where it is divided.",
            "Tensor.clamp(0, 1) makes the weight constant outside of the transition.",
        ),
        level="medium",
        minutes=15,
        after="YaRN treats fast and slow pairs differently as well, and also sharpens the softmax.",
    ),
    Exercise(
        "alibi",
        "alibi(n_heads, T_q, T_k) returns the tensor (n_heads, T_q, T_k) that a decoder with ALiBi adds to "
        "its attention scores: minus the slope of the head times the distance between query and key, and "
        "minus infinity where the key is in the future. The queries are the last T_q of T_k positions. "
        "n_heads is a power of two. The slopes are a geometric sequence: its first term equals its ratio, "
        "and its last term is 2 ** -8.",
        _alibi,
        lambda: [(4, 5, 5), (8, 2, 6), (2, 1, 4)],
        (
            Mistake(
                "distance rewarded",
                "distant keys get a larger score",
                "Subtract the penalty.",
                partial(_penalty, sign=-1),
            ),
            Mistake(
                "first slope is 1",
                "the slopes begin with 1",
                "The first slope equals the ratio, and with H heads the last one is 2 ** -8.",
                partial(_penalty, first=0),
            ),
            Mistake(
                "slopes at equal distances",
                "the slopes fall by equal differences",
                "Each slope is the one before times the same ratio.",
                partial(_penalty, equal_steps=True),
            ),
            Mistake(
                "queries start at position 0",
                "the first query is at the position of the first key, although keys are cached before it",
                "Query i is at position T_k - T_q + i.",
                partial(_penalty, cached=False),
            ),
            Mistake(
                "future not hidden",
                "keys in the future get a penalty instead of minus infinity",
                "A penalty lowers the weight, but only minus infinity makes it 0.",
                partial(_penalty, masked=False),
            ),
            Mistake(
                "one slope for all heads",
                "all heads use the slope of the first head",
                "Each head has its own slope, so that some look far and others near.",
                lambda n_heads, T_q, T_k: _alibi(n_heads, T_q, T_k)[:1].expand(n_heads, -1, -1),
            ),
        ),
        (
            "Compute three things: the slopes, the distances, and where a key is in the future.",
            "If the ratio is r, the last of H terms is r ** H.",
            "Positions of queries minus positions of keys, as a table (T_q, T_k), are the distances. Where "
            "are they negative?",
        ),
        level="medium",
        minutes=15,
    ),
)
