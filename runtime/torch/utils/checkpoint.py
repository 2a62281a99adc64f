"""Activation checkpointing by name only."""

from torch.refusal import refusal


def checkpoint(function, *args, use_reentrant=None, preserve_rng_state=True, **kwargs):
    """Call a function.

    Results and gradients are those of activation checkpointing, which would save memory: nothing is forgotten
    here, and nothing computed twice.
    """
    return function(*args, **kwargs)


def __getattr__(name):
    raise refusal("torch.utils.checkpoint", name)
