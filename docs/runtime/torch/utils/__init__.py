"""Tools around tensors and modules."""

from torch.utils import checkpoint, hooks

__all__ = ["checkpoint", "hooks"]


def __getattr__(name):
    raise AttributeError(f"torch.utils.{name} is not in the in-page subset; run with PyTorch")
