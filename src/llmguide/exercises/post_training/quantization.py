"""Exercises of quantization: 4-bit codes, and 8-bit products with outliers."""

from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.post_training.adapters.quantization import NF4, absmax_int8, dequantize, quantize


def _in_four_bits(block: Tensor) -> Tensor:
    codes, scales = quantize(block, NF4, len(block))
    return dequantize(codes, scales, NF4, len(block))


def _scaled_by(block: Tensor, scale: Tensor) -> Tensor:
    """The nearest codes of NF4, by any scale."""
    return scale * NF4[(block[:, None] / scale - NF4).abs().argmin(dim=1)]


def mixed_matmul(
    x: Tensor,
    W: Tensor,
    threshold: float,
    *,
    split: bool = True,
    late: bool = False,
    drop: bool = False,
    one_scale: bool = False,
    by_row: bool = False,
    rounding: bool = True,
) -> Tensor:
    """Multiply in int8, except for outlier features, with switches for the mistakes."""
    large = x.abs() >= threshold
    is_outlier = large.any(dim=0) if split else torch.zeros_like(large[0])
    if by_row:
        rows = large.any(dim=1)
        exact, coarse = x @ W.T, mixed_matmul(x, W, torch.inf)
        return torch.where(rows[:, None], exact, coarse)

    def quantized(matrix: Tensor) -> tuple[Tensor, Tensor]:
        rest = matrix * ~is_outlier
        base = matrix if late else rest
        scale = absmax_int8(base.flatten()[None])[1] if one_scale else absmax_int8(base)[1]
        codes = rest / scale.clamp(min=1e-12)
        return codes.round() if rounding else codes.trunc(), scale

    (x_codes, x_scale), (w_codes, w_scale) = quantized(x), quantized(W)
    product = (x_codes @ w_codes.T) * x_scale * w_scale.T
    return product if drop else product + (x * is_outlier) @ W.T


def _outlier_probes() -> list[Arguments]:
    x = noise(60, 3, 6)
    x[1, 2], x[0, 4] = 9.0, -7.5
    return [(x, noise(61, 4, 6), 6.0), (noise(62, 2, 5), 3 * noise(63, 3, 5), 6.0)]


EXERCISES = (
    Exercise(
        "four-bits",
        "four_bits(block, codes) quantizes a block of numbers and returns the dequantized numbers. The block "
        "is stored as one scale and, for each number, the index of an entry of `codes`, a table of numbers "
        "from -1 to 1.",
        lambda block, codes: _in_four_bits(block),
        lambda: [
            (torch.tensor([0.5, -2.0, 0.0, 1.1]), NF4.clone()),
            (3 * noise(21, 12), NF4.clone()),
            (torch.tensor([1.6, -0.3, 0.8, -1.2]), NF4.clone()),
        ],
        (
            Mistake(
                "sign of the scale",
                "the block is divided by its largest number, and not by its largest magnitude",
                "A negative number can be the largest by magnitude. Take the absolute values first.",
                lambda block, codes: _scaled_by(block, block.max()),
            ),
            Mistake(
                "scale from the smallest number",
                "the block is divided by the negative of its smallest number",
                "The largest magnitude can be that of a positive number. Take the absolute values first.",
                lambda block, codes: _scaled_by(block, -block.min()),
            ),
            Mistake(
                "indices returned",
                "the indices of the codes are returned",
                "Look up the codes at these indices, and multiply by the scale.",
                lambda block, codes: (block[:, None] / block.abs().max() - codes).abs().argmin(dim=1),
            ),
            Mistake(
                "not scaled back",
                "the codes are returned as they are",
                "Multiply by the scale again.",
                lambda block, codes: _in_four_bits(block) / block.abs().max(),
            ),
            Mistake(
                "not scaled at all",
                "the numbers themselves are looked up",
                "Divide by the scale first: the table reaches from -1 to 1.",
                lambda block, codes: _scaled_by(block, torch.ones(())),
            ),
            Mistake(
                "code below instead of nearest",
                "the largest code that is not above a number is taken",
                "Compare the distances to all codes: argmin.",
                lambda block, codes: (
                    block.abs().max() * codes[((block / block.abs().max())[:, None] >= codes).sum(dim=1) - 1]
                ),
            ),
        ),
        (
            "The scale is the largest magnitude of the block.",
            "For each number, find the index of the nearest code.",
            "(block[:, None] / scale - codes).abs() has a row for each number. Look up the codes at its "
            "argmin, and multiply by the scale.",
        ),
        level="medium",
        minutes=15,
    ),
    Exercise(
        "mixed-matmul",
        "mixed_matmul(x, W, threshold) returns x @ W.T (N, outputs) as LLM.int8() computes it, for "
        "activations `x` (N, inputs) and weights `W` (outputs, inputs). An input feature is an outlier if "
        "any of its N activations has a magnitude of at least `threshold`. Outlier features are multiplied "
        "in floating point. For all other features, each row of x and each row of W is quantized to ints "
        "from -127 to 127 with a scale of its own (absmax), the ints are multiplied and summed, and the sums "
        "are scaled back. The result is the sum of both parts. Every row has a number other than 0 among the "
        "features that are not outliers. The codes may be tensors of floats that have whole numbers as "
        "values.",
        mixed_matmul,
        _outlier_probes,
        (
            Mistake(
                "outliers quantized",
                "all features are quantized",
                "One large activation makes the grid coarse for the whole row. Take its feature out.",
                partial(mixed_matmul, split=False),
            ),
            Mistake(
                "scale with the outliers",
                "the scales are computed before the outliers are taken out",
                "Then nothing is won: the grid is as coarse as with them.",
                partial(mixed_matmul, late=True),
            ),
            Mistake(
                "outliers dropped",
                "the part of the outlier features is missing",
                "Multiply them in floating point, and add the result.",
                partial(mixed_matmul, drop=True),
            ),
            Mistake(
                "one scale for each matrix",
                "a single scale is used for all rows",
                "Each row has its own scale: the maximum over the last dimension.",
                partial(mixed_matmul, one_scale=True),
            ),
            Mistake(
                "rows instead of features",
                "whole rows with a large activation are computed in floating point",
                "Outliers appear in the same few features for nearly all tokens. Split the columns.",
                partial(mixed_matmul, by_row=True),
            ),
            Mistake(
                "cut off instead of rounded",
                "the codes are cut off toward 0",
                "Round to the nearest int. Converting to an int type cuts off.",
                partial(mixed_matmul, rounding=False),
            ),
        ),
        (
            "Split the columns of both matrices into two parts. A matrix product over inputs is the sum of "
            "the products over the parts.",
            "The scale of a row is its largest magnitude divided by 127, and its codes are the rounded "
            "quotients.",
            "The product of the codes is (N, outputs). Scale back entry (i, j) with the scale of row i of x "
            "and that of row j of W.",
        ),
        level="hard",
        minutes=25,
        after="In the paper, more than 99.9% of the values are still multiplied in 8 "
        "bits. Weight-only formats such as NF4 avoid the problem, because they never quantize activations.",
    ),
)
