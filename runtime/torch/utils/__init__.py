"""Tools around tensors and modules."""

from typing import NoReturn

from torch.refusal import refusal
from torch.utils import checkpoint, data, hooks

__all__ = ["checkpoint", "data", "hooks"]


def __getattr__(name: str) -> NoReturn:
    raise refusal("torch.utils", name)
