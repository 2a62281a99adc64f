"""The global stream of random numbers, torch.random."""

import contextlib

from torch.generator import Generator
from torch.refusal import refusal
from torch.tensor import NAMES, function

default_generator = Generator()
NAMES["default_generator"] = default_generator


@function
def manual_seed(seed):
    """Start the global stream that belongs to a seed."""
    return default_generator.manual_seed(seed)


@function
def seed():
    """Start a global stream that nobody knows."""
    return default_generator.seed()


@function
def initial_seed():
    """The seed of the global stream."""
    return default_generator.initial_seed()


@function
def get_rng_state():
    """State of the global stream."""
    return default_generator.get_state()


@function
def set_rng_state(new_state):
    """Go on with the global stream from a state."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices=None, enabled=True):
    """Put the global stream back afterwards."""
    before = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(before)


def __getattr__(name):
    raise refusal("torch.random", name)
