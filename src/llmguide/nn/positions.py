r"""Positions: how a model learns the order of its tokens.

Attention by itself treats its input as a set. There are four remedies: fixed sinusoids added to the
embeddings, a learned table added to the embeddings (GPT-2, BERT), rotation of queries and keys (RoPE in
`llmguide.nn.rope`: LLaMA and most models since 2022), and a penalty on the scores that grows with distance
(ALiBi: BLOOM, MPT).

References: Vaswani et al. 2017, arXiv:1706.03762, section 3.5 (sinusoids); Press et al. 2021,
arXiv:2108.12409, section 3 (ALiBi). Leaves out: relative embeddings.

Glossary: ``T`` tokens, ``D`` model width, ``H`` query heads.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.arguments import check_tensor, has_readable_values
from llmguide.nn.masks import query_and_key_positions


def alibi_slopes(n_heads: int) -> Float[Tensor, " H"]:
    r"""Compute the slope of each head's distance penalty: $2^{-8/H}, 2^{-16/H}, \dots, 2^{-8}$.

    arXiv:2108.12409, section 3, for H a power of two. For other H the authors' code, followed here, takes the
    slopes of the next smaller power P, then every other slope of 2P.

    Args:
        n_heads: Number of heads H, at least 1.

    Returns:
        One positive slope for each head.

    Raises:
        ValueError: If there are no heads.

    >>> alibi_slopes(4).tolist()  # 2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8
    [0.25, 0.0625, 0.015625, 0.00390625]
    >>> alibi_slopes(3).tolist()  # two heads: 2 ** -4, 2 ** -8; the third from the slopes of four heads
    [0.0625, 0.00390625, 0.25]
    """
    if n_heads < 1:
        raise ValueError(f"n_heads={n_heads}: there is a slope for each head, so use at least 1")
    power = 2 ** (n_heads.bit_length() - 1)  # the largest power of two up to H
    slopes = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    between = [2 ** (-8 * i / (2 * power)) for i in range(1, 2 * power, 2)]
    return torch.tensor(slopes + between[: n_heads - power])


def alibi_bias(
    n_heads: int, T_q: int, T_k: int | None = None, *, device: torch.device | str | None = None
) -> Float[Tensor, "H T_q T_k"]:
    r"""Compute the ALiBi bias, a penalty that grows with distance: $-\text{slope}_h \cdot |i - j|$.

    Queries are the last of the keys, as in `llmguide.nn.masks`. The bias masks nothing: a decoder needs its
    causal mask, too. BLOOM adds ``slope * j`` instead, which shifts each row by a constant and leaves its
    causal softmax unchanged.

    Args:
        n_heads: Number of heads H.
        T_q: Number of queries.
        T_k: Number of keys; None: as many as queries.
        device: Device of the bias.

    Returns:
        The ``bias`` for `attention`, in float32.

    >>> from llmguide import alibi_bias
    >>> alibi_bias(1, 1, 3).tolist()  # one head of slope 2 ** -8, the query at position 2
    [[[-0.0078125, -0.00390625, -0.0]]]
    """
    queries, keys = query_and_key_positions(T_q, T_k, device)
    return -alibi_slopes(n_heads).to(keys.device)[:, None, None] * (queries - keys).abs()


def sinusoidal_positions(positions: int | Int[Tensor, "... T"], d_model: int) -> Float[Tensor, "... T D"]:
    r"""Compute sinusoidal position vectors: $\sin(p / 10000^{2i/D})$ in component 2i, the cosine in 2i + 1.

    arXiv:1706.03762, section 3.5. (Some libraries put all sines before all cosines; that is a permutation of
    these.)

    Args:
        positions: Positions of the tokens, or their number T for positions 0 to T - 1.
        d_model: Width D of the vectors, even.

    Returns:
        One vector for each position, in float32, computed in float64.

    Raises:
        ValueError: If the width is odd.

    >>> from llmguide import sinusoidal_positions
    >>> sinusoidal_positions(2, 4).tolist()  # sin 1, cos 1, sin 0.01, cos 0.01
    [[0.0, 1.0, 0.0, 1.0], [0.8415, 0.5403, 0.0100, 0.9999]]
    """
    if d_model % 2:
        raise ValueError(
            f"d_model={d_model} is odd; each frequency takes a sine and a cosine, so use an even width"
        )
    if isinstance(positions, int):
        positions = torch.arange(positions)
    check_tensor("positions", positions)
    device = positions.device if positions.device.type != "mps" else "cpu"  # Apple's GPUs have no float64
    exponents = torch.arange(0, d_model, 2, dtype=torch.float64, device=device) / d_model
    angles = positions.to(device)[..., None] / 10000.0**exponents
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).float().to(positions.device)


class LearnedPositions(nn.Module):
    """A table with one learned vector for each position, and none beyond (GPT-2: 1,024, BERT: 512).

    Args:
        context_length: Number of positions.
        d_model: Width D of the vectors.
    """

    def __init__(self, context_length: int, d_model: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(context_length, d_model))
        nn.init.normal_(self.weight, std=0.02)  # GPT-2's standard deviation

    def forward(self, positions: int | Int[Tensor, "... T"]) -> Float[Tensor, "... T D"]:
        """Look up the vectors of positions.

        Args:
            positions: Positions of the tokens, or their number T for positions 0 to T - 1.

        Returns:
            One row of the table for each position.

        Raises:
            ValueError: If a position is beyond the table, or below 0. Positions on a GPU are not checked; it
                stops with a device-side assertion.
        """
        first, last = 0, -1
        if isinstance(positions, int):
            last = positions - 1
        elif positions.numel() and has_readable_values(positions):
            first, last = int(positions.min()), int(positions.max())
        if last >= len(self.weight):
            raise ValueError(
                f"position {last} is beyond the {len(self.weight)} learned ones; crop to the context length"
            )
        if first < 0:
            raise ValueError(f"position {first} is below 0, the first learned one")
        if isinstance(positions, int):
            return self.weight[:positions]
        return nn.functional.embedding(positions, self.weight)
