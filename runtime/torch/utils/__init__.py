"""Tools around tensors and modules."""

from typing import Any

from torch.refusal import refusal
from torch.utils import checkpoint, data, hooks

__all__ = ["checkpoint", "data", "hooks"]


def __getattr__(name: str) -> Any:
    raise refusal("torch.utils", name)
