"""A layer with 4-bit weights in the order of torch's kernel for processors, for inference in bfloat16.

The kernel's weights are ``scale * (code - 8) + zero``. It has vector instructions for bfloat16 only, so
scales and zeros are rounded to 8 significant bits, as everything else in such a model is.
"""

from typing import Any

import torch
from jaxtyping import BFloat16
from torch import Tensor, nn

from llmguide.nn.q4 import BLOCK, Q4Embedding, Q4Linear

ROWS = 4096  # that are packed at once


class Int4Linear(nn.Module):
    """Multiply by the weights of a `Q4Linear`, which it copies.

    Args:
        layer: Layer in bfloat16 on a processor, with a multiple of 16 outputs.
    """

    def __init__(self, layer: Q4Linear):
        super().__init__()
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, None
        starts = range(0, layer.out_features, ROWS)
        self.parts = [_packed(layer, slice(start, start + ROWS)) for start in starts]
        self.correction = None if layer.correction is None else Int4Linear(layer.correction)

    def forward(self, x: BFloat16[Tensor, "*batch D_in"]) -> BFloat16[Tensor, "*batch D_out"]:
        """Multiply, without gradients."""
        multiply: Any = torch.ops.aten._weight_int4pack_mm_for_cpu
        flat = x.reshape(-1, self.in_features)
        y = torch.cat([multiply(flat, codes, BLOCK, scales) for codes, scales in self.parts], dim=-1)
        if self.correction is not None:
            corrections = self.correction(flat)
            y[:, : corrections.shape[-1]] += corrections
        return y.view(*x.shape[:-1], -1)


def pack_int4(model: nn.Module) -> None:
    """Replace each `Q4Linear` that the kernel takes by an `Int4Linear`, in place, before inference.

    The model can then no longer be trained or saved. A `Q4Embedding` keeps the weights that it shares.

    >>> from llmguide.nn.q4 import quantize_q4
    >>> layers = nn.Sequential(Q4Linear(*quantize_q4(torch.eye(32)))).to(torch.bfloat16)
    >>> pack_int4(layers)
    >>> layers
    Sequential(
      (0): Int4Linear()
    )
    """
    parents = [module for module in model.modules() if not isinstance(module, Q4Embedding | Q4Linear)]
    for parent in parents:
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Q4Linear) and _fits(layer):
                setattr(parent, name, Int4Linear(layer))


def _fits(layer: Q4Linear) -> bool:
    if layer.row_scales.dtype != torch.bfloat16 or layer.row_scales.device.type != "cpu":
        return False
    return hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu") and layer.out_features % 16 == 0


def _packed(layer: Q4Linear, rows: slice) -> tuple[Tensor, Tensor]:
    """The codes of some rows in the kernel's order, and the scale and zero of each block."""
    words = layer.codes[rows]
    codes = torch.stack([(words >> shift) & 15 for shift in (0, 4, 8, 12)], dim=-2).view(len(words), -1)
    scales = layer.row_scales[rows, None].float() * layer.scales[rows]
    zeros = scales * (8 - layer.zeros[rows] / 16)
    both = torch.stack((scales, zeros), dim=-1).transpose(0, 1)  # (n_blocks, rows, 2)
    pack: Any = torch.ops.aten._convert_weight_to_int4pack_for_cpu
    return pack(codes.int(), 1), both.bfloat16().contiguous()
