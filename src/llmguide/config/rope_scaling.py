"""Rules that stretch a trained RoPE to a longer context, with the fields that a config stores.

`llmguide.nn.rope` applies them to the frequencies.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LinearScaling:
    """Position interpolation: positions are divided by `factor` (arXiv:2306.15595)."""

    factor: float


@dataclass(frozen=True)
class YarnScaling:
    """YaRN: interpolate slow frequencies, keep fast ones, and sharpen the softmax (arXiv:2309.00071)."""

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None  # None: 0.1 ln(factor) + 1, the paper's fit


@dataclass(frozen=True)
class Llama3Scaling:
    """The rule of Llama 3.1: interpolate by wavelength, with a smooth step between (arXiv:2407.21783)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True)
class DynamicScaling:
    """Dynamic NTK: beyond the trained context, the base of RoPE grows with the length of the text."""

    factor: float
    original_context: int


@dataclass(frozen=True)
class LongRopeScaling:
    """LongRoPE: a factor for each pair, of two sets that the length selects (arXiv:2402.13753)."""

    short_factors: Sequence[float]
    long_factors: Sequence[float]  # for texts longer than the original context
    original_context: int
    attention_factor: float  # multiplies the tables, which sharpens the softmax

    def __post_init__(self) -> None:
        """Make tuples of lists, as JSON has them."""
        object.__setattr__(self, "short_factors", tuple(self.short_factors))
        object.__setattr__(self, "long_factors", tuple(self.long_factors))


RopeScaling = LinearScaling | YarnScaling | Llama3Scaling | DynamicScaling | LongRopeScaling
