r"""A linear layer and an embedding whose weights are stored in 4 bits.

A row is cut into blocks of 32 weights. A block stores 32 codes from 0 to 15, a scale and a zero point; a row
stores one number by which its scales are multiplied:

$$w = \text{row\_scale} \cdot \text{scale} \cdot (\text{code} - \text{zero} / 16)$$

| stored for each weight | bits |
| --- | --- |
| code | 4 |
| scale and zero point of its block, 8 bits each | 16 / 32 |
| scale of its row, in float32 | 32 / D_in |

This is Q4_1 of llama.cpp with scales of 8 bits instead of 16. Codes are packed in words of 16 bits: a block
is 8 words, and weight ``8 k + j`` is nibble ``k`` of word ``j``. So a block is one SIMD register, and each
shift of it makes 8 neighboring weights.

In the tab `Q4Linear` calls a kernel, q4_linear.ts, which rounds inputs to 16 bits. A precise layer calls it
again, with what the rounding left of them. Where gradients are recorded it multiplies in float32 instead, by
rows that q4_rows.ts dequantizes. Outside the tab, generation in bfloat16 calls torch's kernel for 4-bit
weights (`llmguide.nn._int4`). Otherwise a layer there keeps its dequantized weight after the first call: that
takes seven times the memory, and a pass of SmolLM2-135M over five tokens takes a quarter of the time.

A matrix whose rows are not equally important, such as an embedding, may store the rounding errors of its
first rows as a second matrix in 4 bits. Leaves out: training the weights.

Reference: the quantization types of llama.cpp, ``ggml-quants.c``.
"""

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float, Float32, Int, Int16, UInt8
from torch import Tensor, nn

from llmguide.nn._linear import Linear, linear
from llmguide.nn._q4_product import DequantizedProduct, kept_weight

try:  # in the tab, from kernels.mjs
    kernels: Any = import_module("torch_kernels")
    kernel, rows_kernel = kernels.q4_linear, kernels.q4_rows
except ImportError:
    kernel = rows_kernel = None

KEEPS_WEIGHTS = sys.platform != "emscripten"  # a tab has too little memory for them
BLOCK = 32  # weights that share a scale and a zero point
Q4Weight = tuple[  # codes, scales, zeros and row scales, as `Q4Linear` takes them
    Int16[Tensor, "D_out n_blocks 8"],
    UInt8[Tensor, "D_out n_blocks"],
    UInt8[Tensor, "D_out n_blocks"],
    Float32[Tensor, " D_out"],
]


@lru_cache(maxsize=4)
def _scratch(size: int) -> Float32[Tensor, " size"]:
    return torch.empty(size)


class Q4Linear(nn.Module):
    """A linear layer without bias whose weight is stored in 4 bits.

    Args:
        codes: Words of four 4-bit codes.
        scales: Scale of each block, a multiple of the row's.
        zeros: Zero point of each block, in sixteenths of a code.
        row_scales: Scale of each row.
        correction: Rounding errors of the first rows, in 4 bits too; None: they are not corrected.

    >>> layer = Q4Linear(*quantize_q4(torch.tensor([[1.0, -0.5] * 16])))
    >>> layer.weight[0, :2].tolist(), layer(torch.ones(1, 32)).tolist()
    ([1.0, -0.5], [[8.0]])
    """

    has_constant_buffers = True  # so a checkpoint of adapters leaves them out
    codes: Tensor
    scales: Tensor
    zeros: Tensor
    row_scales: Tensor

    def __init__(
        self,
        codes: Int16[Tensor, "D_out n_blocks 8"],
        scales: UInt8[Tensor, "D_out n_blocks"],
        zeros: UInt8[Tensor, "D_out n_blocks"],
        row_scales: Float32[Tensor, " D_out"],
        *,
        correction: "Q4Linear | None" = None,
    ):
        super().__init__()
        self.out_features, self.in_features = len(codes), BLOCK * codes.shape[1]
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", zeros)
        self.register_buffer("row_scales", row_scales)
        self.correction = correction
        self.bias = None
        self.is_precise = False  # multiplies in the tab with inputs of 32 bits instead of 16
        # What `stack_q4` made of it and others; a tuple is no submodule.
        self.stack: tuple[Q4Linear, ...] = ()
        # The dequantized weight, and the buffers and their versions from which it was computed.
        self.kept: tuple[Any, ...] = (None, None, None)

    def rows(self, at: Int[Tensor, " n"] | slice) -> Float32[Tensor, "n D_in"]:
        """Dequantize some rows."""
        if rows_kernel and isinstance(at, slice):
            return self._rows_by_kernel(at)
        words = self.codes[at]
        codes = torch.stack([(words >> shift) & 15 for shift in (0, 4, 8, 12)], dim=-2)  # (n, n_blocks, 4, 8)
        codes = codes.flatten(-2) - self.zeros[at].unsqueeze(-1) / 16
        scales = self.row_scales[at].unsqueeze(-1) * self.scales[at]
        weights = (codes * scales.unsqueeze(-1)).flatten(-2)
        if self.correction is not None:
            row = torch.arange(self.out_features)[at]
            is_corrected = row < self.correction.out_features
            weights[is_corrected] += self.correction.rows(row[is_corrected])
        return weights

    @property
    def weight(self) -> Float32[Tensor, "D_out D_in"]:
        """The dequantized weight."""
        return self.rows(slice(None))

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        """Multiply by the dequantized weight, or call the kernel of the tab."""
        if kernel and x.shape[-1:] == (self.in_features,) and not torch.is_grad_enabled():
            return self.prepared()(x)
        if KEEPS_WEIGHTS:
            return linear(x, kept_weight(self, x.dtype))
        apply: Any = DequantizedProduct.apply  # torch leaves it untyped
        out: Tensor = apply(x, self)
        return out

    def prepared(self) -> Callable[[Tensor], Tensor]:
        """Return a function that computes the same, for many calls without gradients."""
        if not kernel:
            return self
        weights = (self.codes, self.scales, self.zeros, self.row_scales)
        places = [tensor.data_ptr() for tensor in weights]
        D_in, D_out, n_blocks = self.in_features, self.out_features, self.codes.shape[1]
        correction, is_precise = self.correction and self.correction.prepared(), self.is_precise

        def multiply(x: Float[Tensor, "*batch D_in"], _: Any = weights) -> Float32[Tensor, "*batch D_out"]:
            # the weights are an argument so that they stay in their places
            x = x.float().contiguous()
            n = x.numel() // D_in
            eights = (min(n, 64) + 7) // 8  # of inputs that are in 16 bits at the same time
            scratch = _scratch((68 + 144 * eights) * n_blocks + 80)

            def product(x: Tensor, rest: int) -> Tensor:
                y = torch.empty(*x.shape[:-1], D_out)
                kernel(x.data_ptr(), n, n_blocks, D_out, *places, y.data_ptr(), scratch.data_ptr(), rest)
                return y

            rest = torch.empty_like(x) if is_precise else None
            y = product(x, 0 if rest is None else rest.data_ptr())
            if rest is not None:
                y += product(rest, 0)
            if correction is not None:
                corrections = correction(x)
                y[..., : corrections.shape[-1]] += corrections
            return y

        return multiply

    def _rows_by_kernel(self, at: slice) -> Float32[Tensor, "n D_in"]:
        start, end, step = at.indices(self.out_features)
        assert step == 1
        parts = [tensor[start:end] for tensor in (self.codes, self.scales, self.zeros, self.row_scales)]
        weights = torch.empty(max(end - start, 0), self.in_features)
        n_blocks = self.codes.shape[1]
        rows_kernel(*(part.data_ptr() for part in parts), len(weights), n_blocks, weights.data_ptr())
        if self.correction is not None and start < self.correction.out_features:
            corrections = self.correction.rows(at)
            weights[: len(corrections)] += corrections
        return weights


class Q4Embedding(nn.Module):
    """An embedding whose rows are those of a `Q4Linear`, such as the tied output head.

    Args:
        table: Layer whose weight has one row for each token.

    >>> table = Q4Linear(*quantize_q4(torch.eye(32)))
    >>> Q4Embedding(table)(torch.tensor([[3]]))[0, 0, 2:5].tolist()
    [0.0, 1.0, 0.0]
    """

    def __init__(self, table: Q4Linear):
        super().__init__()
        self.table = table
        self.num_embeddings, self.embedding_dim = table.out_features, table.in_features

    @property
    def weight(self) -> Float32[Tensor, "V D"]:
        """The dequantized table."""
        return self.table.weight

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch D"]:
        """Dequantize the row of each id."""
        return self.table.rows(ids.flatten()).view(*ids.shape, -1).to(self.table.row_scales.dtype)


def stack_q4(layers: Sequence[Q4Linear]) -> Q4Linear:
    """Join layers with the same input into one, which concatenates their outputs and shares their memory.

    The next call with the same layers returns the same one, unless their memory has changed since.

    >>> layers = [Q4Linear(*quantize_q4(torch.eye(32))) for _ in range(2)]
    >>> stack_q4(layers)(torch.ones(1, 32)).shape
    torch.Size([1, 64])
    """
    sizes = [layer.out_features for layer in layers]
    for stacked in layers[0].stack:
        parts = torch.split(stacked.codes, sizes) if sum(sizes) == stacked.out_features else ()
        if [part.data_ptr() for part in parts] == [layer.codes.data_ptr() for layer in layers]:
            return stacked
    buffers = zip(*(layer.buffers() for layer in layers), strict=True)
    stacked = Q4Linear(*(torch.cat(parts) for parts in buffers))
    stacked.is_precise = any(layer.is_precise for layer in layers)
    for name, whole in stacked.named_buffers():
        for layer, part in zip(layers, torch.split(whole, sizes), strict=True):
            setattr(layer, name, part)
    layers[0].stack = (stacked,)
    return stacked


def dequantize_q4(model: nn.Module) -> nn.Module:
    """Replace every `Q4Linear` by a linear layer with the dequantized weight, in place.

    A weight then takes 32 bits instead of about 4.5. A `Q4Embedding` stays in 4 bits: it dequantizes only the
    rows of its input.

    Returns:
        The model.

    >>> dequantize_q4(nn.Sequential(Q4Linear(*quantize_q4(torch.eye(32)))))
    Sequential(
      (0): Linear(in_features=32, out_features=32, bias=False)
    )
    """
    for module in list(model.modules()):
        if isinstance(module, Q4Embedding | Q4Linear):
            continue
        for name, quantized in list(module.named_children()):
            if isinstance(quantized, Q4Linear):
                layer = Linear.__new__(Linear)  # its own beginning would sample a weight, only to replace it
                nn.Module.__init__(layer)
                layer.in_features, layer.out_features = quantized.in_features, quantized.out_features
                layer.weight = nn.Parameter(quantized.weight)
                layer.register_parameter("bias", None)
                setattr(module, name, layer.train(quantized.training))
    return model


def quantize_q4(x: Float[Tensor, "D_out D_in"]) -> Q4Weight:
    """Quantize a matrix, each block between its smallest and largest weight; `Q4Linear` takes the result.

    >>> codes, scales, zeros, row_scales = quantize_q4(torch.tensor([[0.0] * 31 + [30.0]]))
    >>> codes.tolist(), scales.tolist(), zeros.tolist(), row_scales.tolist()  # 30 = 2 / 255 x 255 x 15
    ([[[0, 0, 0, 0, 0, 0, 0, -4096]]], [[255]], [[0]], [0.0078])
    """
    blocks = x.float().view(len(x), -1, BLOCK)
    low, high = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
    steps = (high - low) / 15
    codes = torch.where(steps[..., None] > 0, (blocks - low[..., None]) / steps[..., None], 0).round()
    return compress_q4(codes.to(torch.uint8), steps, low)


def compress_q4(
    codes: UInt8[Tensor, "D_out n_blocks 32"],
    steps: Float[Tensor, "D_out n_blocks"],
    minima: Float[Tensor, "D_out n_blocks"],
) -> Q4Weight:
    """Pack the codes of weights ``code * step + minimum``, and round steps and minima to 8 bits."""
    row_scales = steps.amax(-1) / 255
    scales = torch.where(steps > 0, steps / row_scales[:, None], 0).round()
    zeros = torch.where(steps > 0, -16 * minima / steps, 0).round().clamp(0, 255)
    words = (codes.int().view(*codes.shape[:2], 4, 8) << torch.tensor([[0], [4], [8], [12]])).sum(-2)
    return words.to(torch.int16), scales.to(torch.uint8), zeros.to(torch.uint8), row_scales.float()
