"""Gradients, under torch's names. `record` says how an operation takes part."""

from typing import TYPE_CHECKING, NoReturn

from torch.autograd import function, methods  # noqa: F401  # methods adds some to Tensor
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


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.autograd", name)
