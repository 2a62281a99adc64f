"""Optimizers."""

from typing import NoReturn

from torch.optim import adamw, lr_scheduler
from torch.optim.adam import Adam, AdamW
from torch.optim.lbfgs import LBFGS
from torch.optim.optimizer import Optimizer
from torch.optim.sgd import SGD
from torch.refusal import refusal

__all__ = ["LBFGS", "SGD", "Adam", "AdamW", "Optimizer", "adamw", "lr_scheduler"]


def __getattr__(name: str) -> NoReturn:
    raise refusal("torch.optim", name)
