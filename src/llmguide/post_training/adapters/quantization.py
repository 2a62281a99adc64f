r"""Quantization: weights in 8 and 4 bits.

Two schemes, both with one scale for a group of weights:

- **absmax int8**: a row becomes integers from -127 to 127 times a scale, its largest magnitude / 127.
- **codebook**: each weight divided by the largest magnitude of its block becomes the index of the nearest of
  16 or 256 codes. The 16 codes of `NF4` are quantiles of the normal distribution, which weights roughly
  follow, so codes are dense where weights are. The scales, one for 64 weights, are quantized themselves, with
  the 256 codes of `DYNAMIC8`: double quantization.

| stored for each weight | bits |
| --- | --- |
| code | 4 |
| scale of its block, in 8 bits | 8 / 64 |
| scale of 256 scales, in float32 | 32 / (64 x 256) |

The sum is 4.127 (`llmguide.costs.linear_layers.nf4_bits`), plus 4 bytes per matrix for the mean of its
scales.

References: LLM.int8 (Dettmers et al. 2022, arXiv:2208.07339, sections 2 and 3); QLoRA (Dettmers et al. 2023,
arXiv:2305.14314, section 3; appendix E prints the 16 codes); dynamic 8-bit codes (Dettmers et al. 2021,
arXiv:2110.02861, section 1.3). Blocks, codes and the order of two codes in a byte are those of bitsandbytes.

Leaves out: products of integers, and kernels that multiply packed weights directly; methods that use
calibration data (GPTQ, AWQ).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int8, UInt8
from torch import Tensor

from llmguide.arguments import checked

BLOCK = 64  # weights that share a scale
SCALE_BLOCK = 256  # scales that share a scale


def absmax_int8(
    x: Float[Tensor, "*rows D"],
) -> tuple[Int8[Tensor, "*rows D"], Float32[Tensor, "*rows 1"]]:
    r"""Quantize each row to 8-bit integers: $q = \operatorname{round}(x / s)$ with $s = \max|x| / 127$.

    The rounding error is at most s / 2. One outlier makes the grid coarse for its whole row, so LLM.int8
    multiplies outlier features in floating point.

    Args:
        x: Matrix to quantize, each row with its own scale. Code -128 is unused, so the grid is symmetric.

    Returns:
        Codes and scales; ``codes * scales`` is close to ``x``.

    >>> codes, scale = absmax_int8(torch.tensor([[0.5, -2.0, 1.27, 12.7]]))
    >>> codes.tolist(), scale.item()
    ([[5, -20, 13, 127]], 0.1)
    """
    wide = x.float()
    scale = wide.abs().amax(dim=-1, keepdim=True) / 127
    # in a row of zeros, 0 / 0 must become 0
    codes = torch.where(scale > 0, wide / scale, 0).round().to(torch.int8)
    return codes, scale


def normal_float_codes() -> Float32[Tensor, " 16"]:
    r"""Compute the 16 codes of NF4 from quantiles of the standard normal distribution.

    Zero must be a code, since padding and pruned weights are exactly 0. So there are 8 codes above it and 7
    below, each set at evenly spaced probabilities between 1/2 and $\delta$, and all divided by the largest:

    $$\delta = 1 - \tfrac{1}{2} \left( \tfrac{1}{30} + \tfrac{1}{32} \right) = 0.96771$$

    The infinite quantile at probability 1 is replaced by that at δ, the mean of the last midpoints of 15 and
    of 16 equal intervals. (QLoRA, section 3 and appendix E; the paper prints the codes, bitsandbytes this δ.)

    Returns:
        The codes, ascending from -1 to 1.

    >>> codes = normal_float_codes()
    >>> codes[0].item(), codes[7].item(), codes[8].item(), codes[15].item()
    (-1.0, 0.0, 0.0796, 1.0)
    """
    last = 1 - (1 / 30 + 1 / 32) / 2
    above = torch.special.ndtri(torch.linspace(0.5, last, 9, dtype=torch.float64)[1:])
    below = -torch.special.ndtri(torch.linspace(0.5, last, 8, dtype=torch.float64)[1:])
    codes = torch.cat([below.flip(0), torch.zeros(1, dtype=torch.float64), above])
    return (codes / codes.max()).float()


def dynamic_codes() -> Float32[Tensor, " 256"]:
    r"""Compute 256 codes that span seven powers of ten: the dynamic 8-bit type.

    A magnitude is 10^-i times a fraction, i from 0 to 6. The larger the magnitude, the more fractions there
    are (64 down to 1), so that large values are precise and small ones do not become 0. Zero and 1 complete
    the table; -1 is not in it.

    Returns:
        The codes, ascending.

    >>> codes = dynamic_codes()
    >>> len(codes), codes[0].item(), codes[-1].item()  # the last of 64 midpoints between 0.1 and 1 is 0.99297
    (256, -0.99297, 1.0)
    """
    magnitudes = []
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1, dtype=torch.float32)
        magnitudes.append((edges[:-1] + edges[1:]) / 2 * 10 ** (i - 6))
    positive = torch.cat(magnitudes)
    return torch.cat([-positive, positive, torch.tensor([0.0, 1.0])]).sort().values


NF4 = normal_float_codes()
DYNAMIC8 = dynamic_codes()


def quantize(
    x: Float[Tensor, " N"], table: Float32[Tensor, " C"], block: int
) -> tuple[UInt8[Tensor, " N"], Float32[Tensor, " n_blocks"]]:
    """Divide each block by its largest magnitude and replace each value by the index of the nearest code.

    Args:
        x: Values to quantize; the last block may be shorter.
        table: Ascending codes, at most 256.
        block: Number of values that share a scale.

    Returns:
        Indices, and the largest magnitude of each block.

    >>> indices, scales = quantize(torch.tensor([0.5, -2.0, 0.0, 30.0]), NF4, block=2)
    >>> indices.tolist(), scales.tolist()  # 0.5 / 2 = 0.25 is nearest to code 10, 0.2461
    ([10, 0, 7, 15], [2.0, 30.0])
    """
    blocks = F.pad(x.float(), (0, -len(x) % block)).view(-1, block)
    scales = blocks.abs().amax(dim=1)
    relative = torch.where(scales > 0, blocks.T / scales, 0).T
    midpoints = (table[:-1] + table[1:]) / 2
    indices = torch.bucketize(relative, midpoints.to(x.device)).to(torch.uint8)
    return indices.flatten()[: len(x)], scales


def dequantize(
    indices: UInt8[Tensor, " N"],
    scales: Float32[Tensor, " n_blocks"],
    table: Float32[Tensor, " C"],
    block: int,
) -> Float32[Tensor, " N"]:
    """Look up the codes and multiply each block by its scale, the approximate inverse of `quantize`.

    >>> dequantize(torch.tensor([0, 15, 7], dtype=torch.uint8), torch.tensor([2.0, 9.0]), NF4, 2).tolist()
    [-2.0, 2.0, 0.0]
    """
    # 40 times as fast as table[indices] on a CPU
    values = table.to(indices.device).index_select(0, indices.int())
    return values * scales.repeat_interleave(block)[: len(values)]


def pack(codes: UInt8[Tensor, " N"]) -> UInt8[Tensor, " half"]:
    """Pack two 4-bit codes into each byte, the first into the upper half; an odd last one is paired with 0.

    >>> pack(torch.tensor([1, 2, 15], dtype=torch.uint8)).tolist()  # 1 x 16 + 2, 15 x 16
    [18, 240]
    """
    first, second = F.pad(codes, (0, len(codes) % 2)).view(-1, 2).unbind(1)
    return (first << 4) | second


def unpack(packed: UInt8[Tensor, " half"], n: int) -> UInt8[Tensor, " N"]:
    """Unpack the first n 4-bit codes of bytes from `pack`.

    >>> unpack(torch.tensor([18, 240], dtype=torch.uint8), 3).tolist()
    [1, 2, 15]
    """
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:n]


class NF4Tensor(NamedTuple):
    """A tensor in NF4 with doubly quantized scales.

    Attributes:
        packed: Two codes in each byte.
        scale_codes: Index into `DYNAMIC8` for the scale of each block minus the mean.
        scale_scales: Largest magnitude in each block of scales.
        scale_mean: Mean of the scales. They are all positive, so without subtracting it half of the signed
            codes would be unused.
        shape: Shape of the tensor.
    """

    packed: UInt8[Tensor, " half"]
    scale_codes: UInt8[Tensor, " n_blocks"]
    scale_scales: Float32[Tensor, " n_scale_blocks"]
    scale_mean: Float32[Tensor, ""]
    shape: torch.Size


@checked
def quantize_nf4(x: Float[Tensor, "*shape"]) -> NF4Tensor:
    """Quantize a tensor to 4 bits and its scales to 8.

    >>> from llmguide import quantize_nf4
    >>> x = torch.tensor([[1.0, -0.5, 0.25, 0.0]])
    >>> dequantize_nf4(quantize_nf4(x)).tolist()  # -0.5 and 0.25 become the nearest codes
    [[1.0, -0.5251, 0.2461, 0.0]]
    """
    indices, scales = quantize(x.flatten(), NF4, BLOCK)
    mean = scales.mean()
    scale_codes, scale_scales = quantize(scales - mean, DYNAMIC8, SCALE_BLOCK)
    return NF4Tensor(pack(indices), scale_codes, scale_scales, mean, x.shape)


def dequantize_nf4(q: NF4Tensor) -> Float32[Tensor, "*shape"]:
    """Dequantize a tensor: look up the codes and multiply by the dequantized scales."""
    scales = dequantize(q.scale_codes, q.scale_scales, DYNAMIC8, SCALE_BLOCK) + q.scale_mean
    return dequantize(unpack(q.packed, q.shape.numel()), scales, NF4, BLOCK).view(q.shape)
