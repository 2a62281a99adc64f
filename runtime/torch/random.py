"""The global stream of random numbers, torch.random."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from torch.generator import Generator
from torch.refusal import refusal
from torch.tensor import NAMES, function

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    from torch.tensor import Tensor

default_generator = Generator()
NAMES["default_generator"] = default_generator


@function
def manual_seed(seed: int) -> Generator:
    """Start the global stream that belongs to a seed."""
    return default_generator.manual_seed(seed)


@function
def seed() -> int:
    """Start a global stream that nobody knows."""
    return default_generator.seed()


@function
def initial_seed() -> int:
    """The seed of the global stream."""
    return default_generator.initial_seed()


@function
def get_rng_state() -> Tensor:
    """State of the global stream."""
    return default_generator.get_state()


@function
def set_rng_state(new_state: Tensor) -> None:
    """Go on with the global stream from a state."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """Put the global stream back afterwards."""
    before = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(before)


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.random", name)
