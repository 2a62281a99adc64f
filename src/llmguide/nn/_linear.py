r"""Linear layers, $x W^\top + b$, through the faster of torch's two CPU libraries.

On a CPU torch multiplies float32 matrices with MKL, which chooses its kernels by the vendor of the processor
and uses only half of the speed of an AMD processor. oneDNN, which torch includes for other operations,
chooses by the features of the processor. GFLOP/s on an AMD EPYC with AVX-512, 2 threads, 2048 vectors of
width 384 to width 1536: MKL 176 and oneDNN 446; the gradient of the vectors 180 and 494, that of the weights
206 and 306. Below some millions of multiplications the overhead of oneDNN exceeds the gain.

`torch.nn.functional.linear` is the reference; the results are equal up to the order of the sums.

Leaves out: other processors, on which no gain was measured, and other number formats, for which torch itself
uses oneDNN.
"""

from collections.abc import Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FEWEST_PRODUCTS = 2**22


@cache
def processor() -> str:
    """Return the vendor of the processor, ``GenuineIntel`` or ``AuthenticAMD``; empty if unknown."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    return next((name for name in ("GenuineIntel", "AuthenticAMD") if name in text), "")


HAS_FASTER_ONEDNN = (
    hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and processor() == "AuthenticAMD"
    and torch.backends.cpu.get_cpu_capability() == "AVX512"
)


class Linear(nn.Linear):
    """`torch.nn.Linear`, computed by `linear`."""

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        """Apply the layer to each vector."""
        return linear(x, self.weight, self.bias)


def linear(
    x: Float[Tensor, "*batch D_in"],
    weight: Float[Tensor, "D_out D_in"],
    bias: Float[Tensor, " D_out"] | None = None,
) -> Float[Tensor, "*batch D_out"]:
    """Compute ``F.linear(x, weight, bias)``, by oneDNN if `HAS_FASTER_ONEDNN` and the product is large.

    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([5.0])).tolist()
    [[16.0]]
    """
    if not HAS_FASTER_ONEDNN or not _suits_onednn(x, weight):
        return F.linear(x, weight, bias)
    # apply inspects the signature of forward each time, so it is called only where something differentiates
    apply: Any = _OneDNNLinear.apply if _is_differentiated() else _OneDNNLinear.forward
    out: Tensor = apply(x, weight, bias)
    return out


def _is_differentiated() -> bool:
    return torch.is_grad_enabled() or torch.autograd.forward_ad._current_level >= 0


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()  # inductor chooses kernels itself
        and not torch.is_autocast_enabled("cpu")
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.ndim > 1
        and x.shape[-1] == weight.shape[-1]  # else torch raises its own error
        and x.numel() * len(weight) >= FEWEST_PRODUCTS
    )


class _OneDNNLinear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows, grads = x.flatten(0, -2), grad.flatten(0, -2)
        return (
            linear(grad, weight.T) if wants_x else None,
            linear(grads.T, rows.T) if wants_weight else None,
            grads.sum(0) if wants_bias else None,
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        x, weight = ctx.saved_tensors
        x_tangent, weight_tangent, bias_tangent = tangents
        out: Tensor = x.new_zeros(*x.shape[:-1], len(weight))
        if x_tangent is not None:
            out = linear(x_tangent, weight)
        if weight_tangent is not None:
            out = out + linear(x, weight_tangent)
        return out if bias_tangent is None else out + bias_tangent


if HAS_FASTER_ONEDNN:
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    def _count_flops(x_shape: Sequence[int], weight_shape: Sequence[int], *_: Any, **__: Any) -> int:
        return 2 * prod(x_shape) * weight_shape[0]

    if torch.ops.mkldnn._linear_pointwise not in flop_registry:  # it is when this module is imported again
        register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_count_flops)
