"""Tools around tensors and modules."""

from typing import TYPE_CHECKING, NoReturn

from torch.refusal import refusal
from torch.utils import checkpoint, data, hooks

__all__ = ["checkpoint", "data", "hooks"]


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.utils", name)
