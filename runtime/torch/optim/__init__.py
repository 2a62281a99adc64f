"""Optimizers."""

from typing import TYPE_CHECKING, NoReturn

from torch.optim import adamw, lr_scheduler
from torch.optim.adam import Adam, AdamW
from torch.optim.lbfgs import LBFGS
from torch.optim.optimizer import Optimizer
from torch.optim.sgd import SGD
from torch.refusal import refusal

__all__ = ["LBFGS", "SGD", "Adam", "AdamW", "Optimizer", "adamw", "lr_scheduler"]


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.optim", name)
