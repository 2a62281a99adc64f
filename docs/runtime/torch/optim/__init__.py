"""Optimizers."""

from torch.optim import adamw
from torch.optim.adam import Adam, AdamW
from torch.optim.lbfgs import LBFGS
from torch.optim.optimizer import Optimizer
from torch.optim.sgd import SGD

__all__ = ["LBFGS", "SGD", "Adam", "AdamW", "Optimizer", "adamw"]


def __getattr__(name):
    raise AttributeError(f"torch.optim.{name} is not in the in-page subset; run with PyTorch")
