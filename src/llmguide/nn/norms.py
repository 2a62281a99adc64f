r"""Normalization: LayerNorm and RMSNorm.

Each formula is a readable function. The module of the same name holds the parameters and calls torch's fused
kernel, which gives the same numbers.

References: Ba et al. 2016, arXiv:1607.06450 (LayerNorm); Zhang and Sennrich 2019, arXiv:1910.07467 (RMSNorm).

Glossary: ``D`` model width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig


def layer_norm(
    x: Float[Tensor, "*batch D"], weight: Float[Tensor, " D"], bias: Float[Tensor, " D"], eps: float = 1e-5
) -> Float[Tensor, "*batch D"]:
    r"""Shift and scale each vector to mean 0 and variance 1, then apply a learned weight and bias.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \odot w + b$$

    arXiv:1607.06450, equation 4. The variance is the biased one (divided by D), and eps is inside the root.

    Args:
        x: Vectors to normalize, along the last axis.
        weight: Learned scale, initially 1.
        bias: Learned shift, initially 0.
        eps: Small constant inside the root, which keeps it away from 0.

    Returns:
        The normalized vectors, in the dtype of ``x``; half precision is computed in float32.

    >>> x = torch.tensor([1.0, 2.0, 3.0, 6.0])  # mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5
    >>> (layer_norm(x, torch.ones(4), torch.zeros(4), eps=0.0) * 3.5**0.5).tolist()
    [-2.0, -1.0, 0.0, 3.0]
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centered = wide - wide.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return (centered * torch.rsqrt(variance + eps) * weight + bias).to(x.dtype)


def rms_norm(
    x: Float[Tensor, "*batch D"], weight: Float[Tensor, " D"], eps: float = 1e-5
) -> Float[Tensor, "*batch D"]:
    r"""Scale each vector to root mean square 1, then apply a learned weight.

    $$y = \frac{x}{\sqrt{\frac{1}{D} \sum_i x_i^2 + \epsilon}} \odot w$$

    arXiv:1910.07467, equation 4: LayerNorm without its mean and bias.

    Args:
        x: Vectors to normalize, along the last axis.
        weight: Learned scale, initially 1.
        eps: Small constant inside the root, which keeps it away from 0.

    Returns:
        The normalized vectors, in the dtype of ``x``; half precision is computed in float32.

    >>> rms_norm(torch.tensor([1.0, 7.0]), torch.ones(2), eps=0.0).tolist()  # mean square 25
    [0.2, 1.4]
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps) * weight).to(x.dtype)


class LayerNorm(nn.Module):
    """`layer_norm` with its parameters, through torch's fused kernel.

    Args:
        d_model: Width D of the vectors.
        eps: Small constant inside the root, which keeps it away from 0.
    """

    def __init__(self, d_model: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Normalize the last axis."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """`rms_norm` with its parameter, through torch's fused kernel.

    Args:
        d_model: Width D of the vectors.
        eps: Small constant inside the root, which keeps it away from 0.
    """

    def __init__(self, d_model: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Normalize the last axis."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def make_norm(config: ModelConfig) -> LayerNorm | RMSNorm:
    """Make the norm that a config names."""
    return (RMSNorm if config.norm == "rmsnorm" else LayerNorm)(config.d_model, config.norm_eps)
