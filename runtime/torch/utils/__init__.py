"""Tools around tensors and modules."""

from torch.refusal import refusal
from torch.utils import checkpoint, hooks

__all__ = ["checkpoint", "hooks"]


def __getattr__(name):
    raise refusal("torch.utils", name)
