"""Tools for gradients and sequences."""

from typing import TYPE_CHECKING, NoReturn

from torch.nn.utils import rnn
from torch.nn.utils.clip_grad import clip_grad_norm_
from torch.refusal import refusal

__all__ = ["clip_grad_norm_", "rnn"]


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.nn.utils", name)
