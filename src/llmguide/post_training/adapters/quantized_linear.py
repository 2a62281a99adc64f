"""Linear layers whose weights are stored in NF4: the frozen base of QLoRA.

References: Dettmers et al. 2023, arXiv:2305.14314, section 3. The formats are in
`llmguide.post_training.adapters.quantization`.
"""

from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from llmguide.nn._linear import Linear, linear
from llmguide.post_training.adapters.quantization import NF4Tensor, dequantize_nf4, quantize_nf4
from llmguide.post_training.adapters.targets import find_layers


class QuantizedLinear(nn.Module):
    """A linear layer whose weight is stored in NF4 and dequantized at each use.

    The dequantized weight is freed after each call; the backward pass dequantizes it again. The weight cannot
    be trained; `llmguide.post_training.adapters.lora.apply_lora` adds trainable adapters (QLoRA).

    Args:
        linear: Layer to quantize; its bias is not quantized.

    >>> layer = QuantizedLinear(nn.Linear(256, 128, bias=False))
    >>> layer.n_bytes()  # 256 x 128 / 2 codes, 512 scales of 1 byte, 2 scales of these and their mean
    16908
    """

    has_constant_buffers = True  # so a checkpoint of adapters leaves them out
    packed: Tensor
    scale_codes: Tensor
    scale_scales: Tensor
    scale_mean: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        quantized = quantize_nf4(linear.weight.detach())
        for name in ("packed", "scale_codes", "scale_scales", "scale_mean"):
            self.register_buffer(name, getattr(quantized, name))
        self.bias = linear.bias

    @property
    def weight(self) -> Float32[Tensor, "D_out D_in"]:
        """The dequantized weight."""
        shape = torch.Size([self.out_features, self.in_features])
        return dequantize_nf4(
            NF4Tensor(self.packed, self.scale_codes, self.scale_scales, self.scale_mean, shape)
        )

    def n_bytes(self) -> int:
        """Return the number of bytes of codes and scales, without the bias."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers())

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        """Dequantize to the dtype of ``x`` and multiply."""
        apply: Any = _DequantizedProduct.apply  # torch leaves it untyped
        out: Tensor = apply(x, self)
        return out if self.bias is None else out + self.bias.to(out.dtype)


class _DequantizedProduct(torch.autograd.Function):
    """Compute x W^T and dequantize W again in the backward pass instead of saving it for autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer, ctx.dtype = layer, x.dtype
        return linear(x, layer.weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return linear(grad, ctx.layer.weight.to(grad.dtype).T).to(ctx.dtype), None


def quantize_model(model: nn.Module, target_modules: str | Collection[str]) -> nn.Module:
    """Replace linear layers of a model by `QuantizedLinear`, in place.

    Args:
        model: Any model without adapters.
        target_modules: Target layers, by the end of their dotted names (one name, or several), as in
            `llmguide.post_training.adapters.lora.apply_lora`. Embeddings and the head usually stay 16-bit.

    Returns:
        The model.

    Raises:
        ValueError: A target matches no layer, or one that is not linear.

    >>> quantize_model(nn.Sequential(nn.Linear(64, 64)), ["0"])
    Sequential(
      (0): QuantizedLinear()
    )
    """
    for path, layer in find_layers(model, target_modules, (nn.Linear,)).items():
        assert isinstance(layer, nn.Linear)
        model.set_submodule(path, QuantizedLinear(layer).train(layer.training))
    return model


def dequantize_model(model: nn.Module) -> nn.Module:
    """Replace every `QuantizedLinear` by a linear layer with the dequantized weight, in place.

    >>> dequantize_model(quantize_model(nn.Sequential(nn.Linear(64, 64)), ["0"]))
    Sequential(
      (0): Linear(in_features=64, out_features=64, bias=True)
    )
    """
    for path, quantized in list(model.named_modules()):
        if isinstance(quantized, QuantizedLinear):
            has_bias = quantized.bias is not None
            layer = Linear(quantized.in_features, quantized.out_features, bias=has_bias, device="meta")
            layer.weight = nn.Parameter(quantized.weight)
            if has_bias:
                layer.bias = quantized.bias
            model.set_submodule(path, layer.train(quantized.training))
    return model
