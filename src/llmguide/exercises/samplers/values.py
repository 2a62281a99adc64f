"""Sample the values that the arguments of hidden tests are made of."""

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments

Sampler = Callable[[Random], Arguments]


def integers(random: Random, n: int, low: int, high: int) -> list[int]:
    """Sample n whole numbers from low to high, both included."""
    return [random.randint(low, high) for _ in range(n)]


def letters(random: Random, alphabet: str, low: int, high: int) -> str:
    """Sample a text of low to high characters of an alphabet."""
    return "".join(random.choices(alphabet, k=random.randint(low, high)))


def normal(random: Random, n: int) -> Tensor:
    """Sample n normal random numbers."""
    return torch.tensor([random.gauss() for _ in range(n)])
