r"""RoPE, rotary position embeddings, and the methods that extend their context.

RoPE turns pair i of a query or key at position m by the angle

$$m\,\theta_i, \qquad \theta_i = \theta^{-2i/E}.$$

A rotation keeps lengths, and the dot product of a query at m with a key at n depends on m - n alone. There
are two layouts of the pairs, and weights trained with one give wrong answers with the other:

- ``half``: component i is paired with i + E/2 (Hugging Face transformers, GPT-NeoX);
- ``interleaved``: component 2i is paired with 2i + 1 (the paper, GPT-J, Meta's own LLaMA code, DeepSeek).

`half_to_interleaved` is the permutation between them.

Tables are computed in float32 exactly as transformers does (bit for bit, on CPU), because the models were
trained with that rounding: at position 100,000 an angle in float32 is off by up to 0.005 radians.

References: Su et al. 2021, arXiv:2104.09864, section 3.2 and equation 34 (RoPE); Chen et al. 2023,
arXiv:2306.15595 (position interpolation); Peng et al. 2023, arXiv:2309.00071 (NTK-aware scaling, section 3.1;
YaRN, sections 3.2 to 3.4); Ding et al. 2024, arXiv:2402.13753 (LongRoPE); Llama 3.1 as described in
arXiv:2407.21783 and released in Meta's llama-models. Leaves out: rotating only a part of each head.

Glossary: ``T`` tokens, ``E`` head width, ``theta`` the base of the frequencies, ``E_half`` = E/2, the number
of rotated pairs.
"""

from math import ceil, floor, log, pi
from typing import Literal, assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.arguments import check_tensor
from llmguide.config.rope_scaling import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RopeScaling,
    YarnScaling,
)

Layout = Literal["half", "interleaved"]


def rope_frequencies(
    head_dim: int, theta: float = 10000.0, scaling: RopeScaling | None = None, *, length: int = 0
) -> Float[Tensor, " E_half"]:
    r"""Compute the angle in radians by which each pair turns per position, $\theta^{-2i/E}$, after scaling.

    Args:
        head_dim: Head width E, even.
        theta: Base of the frequencies (10,000 in the paper, 500,000 in Llama 3).
        scaling: Method of context extension; None: no scaling.
        length: Number of positions, on which dynamic NTK and LongRoPE depend.

    Returns:
        One frequency for each pair, the first pair turning fastest.

    Raises:
        ValueError: If the head width is odd.

    >>> rope_frequencies(4, theta=100.0).tolist()  # 100 ** 0 and 100 ** (-2/4)
    [1.0, 0.1]
    >>> rope_frequencies(4, theta=100.0, scaling=LinearScaling(factor=2.0)).tolist()
    [0.5, 0.05]
    """
    if head_dim % 2:
        raise ValueError(f"head_dim={head_dim} is odd; RoPE rotates pairs, so use an even head width")
    periods = theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    frequencies = 1.0 / periods
    match scaling:
        case None:
            return frequencies
        case LinearScaling(factor):
            return frequencies / factor
        case YarnScaling():
            return _yarn(periods, theta, scaling)
        case Llama3Scaling():
            return _llama3(frequencies, scaling)
        case DynamicScaling(factor, original):
            stretch = factor * torch.tensor(max(length, original)) / original - (factor - 1)
            base = theta * stretch ** (head_dim / (head_dim - 2))  # as in ntk_theta, in float32
            return 1.0 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        case LongRopeScaling(short, long, original):
            return 1.0 / (torch.tensor(long if length > original else short) * periods)
        case _:
            assert_never(scaling)


def _yarn(periods: Float[Tensor, " E_half"], theta: float, scaling: YarnScaling) -> Float[Tensor, " E_half"]:
    """Blend kept and interpolated frequencies along a ramp over the pairs (arXiv:2309.00071, section 3.2)."""
    E = 2 * len(periods)

    def pair_that_turns(times: float) -> float:
        """Solve original_context * theta ** (-2 i / E) = 2 pi * times for the pair index i."""
        return E * log(scaling.original_context / (times * 2 * pi)) / (2 * log(theta))

    first = max(floor(pair_that_turns(scaling.beta_fast)), 0)
    last = min(ceil(pair_that_turns(scaling.beta_slow)), E - 1)
    width = max(last - first, 0.001)  # avoids division by 0 if the ramp is a step
    kept = 1 - ((torch.arange(len(periods), dtype=torch.float32) - first) / width).clamp(0, 1)
    return 1 / (scaling.factor * periods) * (1 - kept) + 1 / periods * kept


def _llama3(frequencies: Float[Tensor, " E_half"], scaling: Llama3Scaling) -> Float[Tensor, " E_half"]:
    """Blend kept and interpolated frequencies by the turns a pair makes in the original context."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_context / (2 * pi / frequencies)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies


def ntk_theta(theta: float, head_dim: int, factor: float) -> float:
    r"""Compute the base of NTK-aware scaling, which slows the slowest pair by ``factor`` and not the fastest.

    $\theta' = \theta \cdot \text{factor}^{E/(E-2)}$; arXiv:2309.00071, section 3.1. «Dynamic» NTK takes
    ``factor * length / context - (factor - 1)`` at each length; keys in a cache then hold an older base than
    new ones.

    Args:
        theta: Base that the model was trained with.
        head_dim: Head width E, more than 2.
        factor: New context length divided by the trained one.

    Returns:
        The base to give to `rope_tables`.

    >>> ntk_theta(100.0, 4, 10.0)  # 100 * 10 ** (4 / 2)
    10000.0
    """
    return float(theta * factor ** (head_dim / (head_dim - 2)))


def rope_tables(
    positions: int | Int[Tensor, "... T"],
    head_dim: int,
    theta: float = 10000.0,
    scaling: RopeScaling | None = None,
    *,
    device: torch.device | str | None = None,
) -> tuple[Float[Tensor, "... T E_half"], Float[Tensor, "... T E_half"]]:
    """Compute cosines and sines of the angle of every pair at every position, always in float32.

    Args:
        positions: Positions of the tokens, or their number T for positions 0 to T - 1. With a cache of n
            tokens pass ``torch.arange(n, n + T)``.
        head_dim: Head width E, even.
        theta: Base of the frequencies.
        scaling: Method of context extension; None: no scaling.
        device: Device of the tables; None: that of ``positions``.

    Returns:
        cos and sin. With YaRN and LongRoPE they carry the attention factor. The tables of dynamic
        NTK and LongRoPE depend on the largest position: keys in a cache keep those of an earlier length, as
        in transformers.

    Raises:
        ValueError: If the head width is odd.

    >>> from llmguide import rope_tables
    >>> cos, sin = rope_tables(torch.tensor([0, 1]), 2)
    >>> cos.tolist(), sin.tolist()  # one pair, turning 1 radian per position
    ([[1.0], [0.5403]], [[0.0], [0.8415]])
    """
    if isinstance(positions, int):
        positions = torch.arange(positions, device=device)
    check_tensor("positions", positions)
    positions = positions.to(device=device)
    length = 0
    if isinstance(scaling, DynamicScaling | LongRopeScaling) and positions.numel():
        length = int(positions.max()) + 1
    frequencies = rope_frequencies(head_dim, theta, scaling, length=length).to(positions.device)
    angles = positions[..., None].float() * frequencies
    cos, sin = angles.cos(), angles.sin()
    if isinstance(scaling, LongRopeScaling):
        cos, sin = cos * scaling.attention_factor, sin * scaling.attention_factor
    if isinstance(scaling, YarnScaling):
        factor = scaling.attention_factor
        if factor is None:
            factor = 0.1 * log(max(scaling.factor, 1.0)) + 1.0
        cos, sin = cos * factor, sin * factor
    return cos, sin


def apply_rope(
    x: Float[Tensor, "... T E"],
    cos: Float[Tensor, "... T E_half"],
    sin: Float[Tensor, "... T E_half"],
    *,
    layout: Layout = "half",
) -> Float[Tensor, "... T E"]:
    r"""Rotate the pairs (a, b) of each query or key: $(a\cos - b\sin,\; a\sin + b\cos)$.

    arXiv:2104.09864, equation 34. The product is computed in the wider dtype of ``x`` and the tables and
    rounded to that of ``x`` at the end. (transformers rounds the tables to the dtype of ``x`` first: pass
    ``cos.to(x.dtype)`` and ``sin.to(x.dtype)`` for its bits in half precision.)

    Args:
        x: Query or key vectors.
        cos: Cosines from `rope_tables`; they broadcast, so ``(T, E/2)`` serves every batch row and head.
        sin: Sines from `rope_tables`, of the same shape.
        layout: Layout of the pairs: ``half`` (i, i + E/2) or ``interleaved`` (2i, 2i + 1).

    Returns:
        The rotated vectors, in the shape and dtype of ``x``.

    Raises:
        ValueError: If the layout is unknown or the tables do not fit.

    >>> from llmguide import apply_rope
    >>> quarter_turn = torch.zeros(1, 2), torch.ones(1, 2)  # cos 90 degrees = 0, sin = 1
    >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> apply_rope(x, *quarter_turn).tolist()  # pairs (1, 3) and (2, 4)
    [[-3.0, -4.0, 1.0, 2.0]]
    >>> apply_rope(x, *quarter_turn, layout="interleaved").tolist()  # pairs (1, 2) and (3, 4)
    [[-2.0, 1.0, -4.0, 3.0]]
    """
    check_tensor("x", x)
    if 2 * cos.shape[-1] != x.shape[-1] or cos.shape[-2] != x.shape[-2]:
        raise ValueError(
            f"x {tuple(x.shape)} needs tables (T, E/2) = {(x.shape[-2], x.shape[-1] // 2)}, got "
            f"{tuple(cos.shape)}: build them for the positions of x and its head width"
        )
    if layout == "half":
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x.dtype)
    if layout == "interleaved":
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2).to(x.dtype)
    raise ValueError(f'layout={layout!r} is unknown; use "half" or "interleaved"')


def half_to_interleaved(head_dim: int) -> Int[Tensor, " E"]:
    """Return the index that permutes components from half to interleaved layout: ``x[..., index]``.

    To convert a projection, apply it to the E output rows of each head, in queries and keys alike; then the
    scores, and so the model, stay the same.

    Args:
        head_dim: Head width E, even.

    Returns:
        A permutation of 0 to E - 1; its ``argsort()`` converts back.

    >>> half_to_interleaved(6).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    return torch.arange(head_dim).view(2, -1).T.flatten()
