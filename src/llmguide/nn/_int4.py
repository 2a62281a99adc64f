"""Products with 4-bit weights by torch's kernel for processors, in bfloat16.

The kernel's weights are ``scale * (code - 8) + zero``. It has vector instructions for bfloat16 only, so
scales and zeros are rounded to 8 significant bits, as everything else in such a model is.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import BFloat16
from torch import Tensor

GROUP = 32  # weights that share a scale
ROWS = 4096  # that are packed at once


def has_int4_kernel(layer: Any) -> bool:
    """Say if the kernel takes a `Q4Linear`: in bfloat16, on a processor, with a multiple of 16 outputs."""
    if layer.row_scales.dtype != torch.bfloat16 or layer.row_scales.device.type != "cpu":
        return False
    return hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu") and layer.out_features % 16 == 0


def int4_product(layer: Any) -> Callable[[Tensor], Tensor]:
    """Pack the weights of a `Q4Linear` for the kernel; return the function that multiplies by them."""
    multiply: Any = torch.ops.aten._weight_int4pack_mm_for_cpu
    parts = [_packed(layer, slice(start, start + ROWS)) for start in range(0, layer.out_features, ROWS)]
    correction = None if layer.correction is None else layer.correction.prepared()

    def product(x: BFloat16[Tensor, "*batch D_in"]) -> BFloat16[Tensor, "*batch D_out"]:
        flat = x.reshape(-1, layer.in_features)
        y = torch.cat([multiply(flat, codes, GROUP, scales) for codes, scales in parts], dim=-1)
        if correction is not None:
            corrections = correction(flat)
            y[:, : corrections.shape[-1]] += corrections
        return y.view(*x.shape[:-1], -1)

    return product


def _packed(layer: Any, rows: slice) -> tuple[Tensor, Tensor]:
    """The codes of some rows in the kernel's order, and the scale and zero of each block."""
    words = layer.codes[rows]
    codes = torch.stack([(words >> shift) & 15 for shift in (0, 4, 8, 12)], dim=-2).view(len(words), -1)
    scales = layer.row_scales[rows, None].float() * layer.scales[rows]
    zeros = scales * (8 - layer.zeros[rows] / 16)
    both = torch.stack((scales, zeros), dim=-1).transpose(0, 1)  # (n_blocks, rows, 2)
    pack: Any = torch.ops.aten._convert_weight_to_int4pack_for_cpu
    return pack(codes.int(), 1), both.bfloat16().contiguous()
