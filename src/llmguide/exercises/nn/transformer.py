"""Exercises of the Transformer chapter: norms, the residual stream, the gated layer."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.nn.feed_forward import swiglu
from llmguide.nn.norms import layer_norm, rms_norm


def _norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    *,
    centered: bool = False,
    axis: int = -1,
    outside: bool = False,
    total: bool = False,
) -> Tensor:
    """Compute RMSNorm, with switches for the mistakes."""
    x = x - x.mean(dim=-1, keepdim=True) if centered else x
    square = x.square().sum(dim=axis, keepdim=True) if total else x.square().mean(dim=axis, keepdim=True)
    return x / (square.sqrt() + eps if outside else (square + eps).sqrt()) * weight


def _layer(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    *,
    correction: int = 0,
    axis: int = -1,
    outside: bool = False,
) -> Tensor:
    """Compute LayerNorm, with switches for the mistakes."""
    variance = x.var(dim=axis, keepdim=True, correction=correction)
    deviation = variance.sqrt() + eps if outside else (variance + eps).sqrt()
    return (x - x.mean(dim=axis, keepdim=True)) / deviation * weight + bias


def _norm_probes() -> list[Arguments]:
    weight = 1 + 0.3 * noise(0, 4)
    return [
        (noise(1, 3, 5, 4) + 1, weight, 1e-5),
        (0.03 * noise(2, 2, 3, 4), weight, 1e-2),
    ]  # eps counts in the second


def _layer_probes() -> list[Arguments]:
    return [(x, weight, noise(3, 4), eps) for x, weight, eps in _norm_probes()]


def _halve(x: Tensor) -> Tensor:
    return x / 2


def _unit(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:])


def _residual_probes() -> list[Arguments]:
    return [(noise(4, 2, 3, 4), torch.tanh, _halve), (noise(5, 1, 2, 4), torch.square, _unit)]


EXERCISES = (
    Exercise(
        "rms-norm",
        "rms_norm(x, weight, eps) scales each vector (last axis) to root mean square 1, with eps under the "
        "root, and multiplies by the weight.",
        rms_norm,
        _norm_probes,
        (
            Mistake(
                "mean subtracted",
                "the mean is subtracted first, as in LayerNorm",
                "RMSNorm does not subtract the mean; that is what it saves.",
                partial(_norm, centered=True),
            ),
            Mistake(
                "length instead of root mean square",
                "the vector is divided by its length",
                "Divide the sum of squares by the width.",
                partial(_norm, total=True),
            ),
            Mistake(
                "normalized over the tokens",
                "the mean runs over the tokens instead of the components",
                "Each token is normalized by itself: use dim=-1.",
                partial(_norm, axis=-2),
            ),
            Mistake(
                "eps outside the root",
                "eps is added to the root instead of the mean square",
                "Compute sqrt(mean square + eps).",
                partial(_norm, outside=True),
            ),
            Mistake(
                "weight forgotten",
                "the weight is not applied",
                "The last step is a product with the learned weight.",
                lambda x, weight, eps: _norm(x, torch.ones_like(weight), eps),
            ),
            Mistake(
                "1 + weight",
                "the result is multiplied by 1 + weight",
                "Gemma stores the weight minus 1. Here, the weight is stored as it is.",
                lambda x, weight, eps: _norm(x, 1 + weight, eps),
            ),
        ),
        ("x.square().mean(dim=-1, keepdim=True)", "Use torch.rsqrt."),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "layer-norm",
        "layer_norm(x, weight, bias, eps) shifts and scales each vector to mean 0 and variance 1, eps under "
        "the root, then applies weight and bias.",
        layer_norm,
        _layer_probes,
        (
            Mistake(
                "variance with Bessel's correction",
                "the variance is divided by D - 1, as torch.var does unless told otherwise",
                "x.var(correction=0): the variance is over all D components, not estimated from a sample.",
                partial(_layer, correction=1),
            ),
            Mistake(
                "normalized over the tokens",
                "mean and variance run over the tokens, as in BatchNorm",
                "Each token is normalized by itself: use dim=-1.",
                partial(_layer, axis=-2),
            ),
            Mistake(
                "mean kept",
                "the mean is not subtracted, as in RMSNorm",
                "LayerNorm centers before it scales.",
                lambda x, weight, bias, eps: _norm(x, weight, eps) + bias,
            ),
            Mistake(
                "bias forgotten",
                "the bias is not added",
                "The last step is a product with the weight and a sum with the bias.",
                lambda x, weight, bias, eps: _layer(x, weight, 0 * bias, eps),
            ),
            Mistake(
                "eps outside the root",
                "eps is added to the standard deviation instead of the variance",
                "sqrt(variance + eps). The difference counts where the variance is small.",
                partial(_layer, outside=True),
            ),
            Mistake(
                "bias before weight",
                "the bias is added first, so that the weight scales it as well",
                "Multiply by the weight, and then add the bias.",
                lambda x, weight, bias, eps: _layer(x, weight, weight * bias, eps),
            ),
        ),
        ("Center first; the variance is the mean square of what is left.",),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "pre-norm",
        "pre_norm(x, sublayer, norm) returns the residual stream after one sublayer of a pre-norm block.",
        lambda x, sublayer, norm: x + sublayer(norm(x)),
        _residual_probes,
        (
            Mistake(
                "post- for pre-norm",
                "the sum is normalized, as in the Transformer of 2017",
                "GPT-2 and later normalize the input of the sublayer, and nothing touches x itself.",
                lambda x, sublayer, norm: norm(x + sublayer(x)),
            ),
            Mistake(
                "residual connection forgotten",
                "x is not added",
                "A sublayer adds an update to the residual stream; it does not replace it.",
                lambda x, sublayer, norm: sublayer(norm(x)),
            ),
            Mistake(
                "normalized x added",
                "the normalized x is added instead of x",
                "The path of plain sums from the first to the last layer is the point of pre-norm.",
                lambda x, sublayer, norm: norm(x) + sublayer(norm(x)),
            ),
            Mistake(
                "output normalized",
                "the norm is applied to the output of the sublayer, as in OLMo 2",
                "Call the sublayer on the normalized x.",
                lambda x, sublayer, norm: x + norm(sublayer(x)),
            ),
            Mistake(
                "norm forgotten",
                "nothing is normalized",
                "Without a norm the stream grows with depth, and so do the gradients.",
                lambda x, sublayer, norm: x + sublayer(x),
            ),
        ),
        ("One line: x plus something.",),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "swiglu",
        "swiglu(gate, up) returns SiLU(gate) times up.",
        swiglu,
        lambda: [(noise(6, 3, 4), noise(7, 3, 4)), (torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0]))],
        (
            Mistake(
                "the two swapped",
                "SiLU is applied to the other projection",
                "The gate passes through SiLU. Released weights name it gate_proj.",
                lambda gate, up: F.silu(up) * gate,
            ),
            Mistake(
                "sigmoid instead of SiLU",
                "the gate is a plain sigmoid (this is GLU)",
                "SiLU(x) is x times the sigmoid of x.",
                lambda gate, up: torch.sigmoid(gate) * up,
            ),
            Mistake(
                "GELU instead of SiLU",
                "the gate is GELU (this is GEGLU)",
                "Use torch.nn.functional.silu.",
                lambda gate, up: F.gelu(gate) * up,
            ),
            Mistake(
                "added instead of multiplied",
                "gate and up are added",
                "A gate is a factor: multiply by it.",
                lambda gate, up: F.silu(gate) + up,
            ),
            Mistake(
                "ReLU instead of SiLU",
                "the activation is ReLU, as in ReGLU",
                "SiLU(x) = x * sigmoid(x), which is smooth and slightly negative below 0.",
                lambda gate, up: F.relu(gate) * up,
            ),
        ),
        ("SiLU(x) = x times sigmoid(x).",),
        level="warm-up",
        minutes=5,
    ),
)
