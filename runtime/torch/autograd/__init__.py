"""Gradients, under torch's names. `record` says how an operation takes part."""

from typing import Any

from torch.autograd import function, hooks  # noqa: F401  # hooks adds methods to Tensor
from torch.autograd.engine import backward, grad
from torch.autograd.function import Function
from torch.autograd.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from torch.refusal import refusal

__all__ = [
    "Function",
    "backward",
    "enable_grad",
    "function",
    "grad",
    "inference_mode",
    "no_grad",
    "set_grad_enabled",
]


def __getattr__(name: str) -> Any:
    raise refusal("torch.autograd", name)
