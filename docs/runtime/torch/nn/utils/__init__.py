"""Tools for gradients and sequences."""

from torch.nn.utils import rnn
from torch.nn.utils.clip_grad import clip_grad_norm_

__all__ = ["clip_grad_norm_", "rnn"]


def __getattr__(name):
    raise AttributeError(f"torch.nn.utils.{name} is not in the in-page subset; run with PyTorch")
