"""Layers, models and losses."""

from typing import TYPE_CHECKING, NoReturn

from torch.nn import functional, init, parallel, utils
from torch.nn.activations import (
    GELU,
    Dropout,
    Flatten,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from torch.nn.containers import ModuleDict, ModuleList, Sequential
from torch.nn.layers import Embedding, Identity, LayerNorm, Linear, RMSNorm
from torch.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, KLDivLoss, MSELoss
from torch.nn.module import Module
from torch.nn.multihead import MultiheadAttention
from torch.nn.parameter import Parameter
from torch.refusal import refusal

__all__ = [
    "GELU",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "KLDivLoss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
    "init",
    "parallel",
    "utils",
]


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.nn", name)
