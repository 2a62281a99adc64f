"""Whether a module computes what its class says, so that a fast path may do it from its weights."""

from typing import Any


def is_unchanged(module: Any, *classes: type) -> bool:
    """Return whether a module is of one of these classes, not of a subclass, and nobody replaced its methods.

    Forward hooks count as a change.

    >>> from torch import nn
    >>> layer = nn.Linear(2, 2)
    >>> is_unchanged(layer, nn.Linear)
    True
    >>> layer.forward = lambda x: 2 * x
    >>> is_unchanged(layer, nn.Linear)
    False
    """
    if type(module) not in classes or module._forward_hooks or module._forward_pre_hooks:
        return False
    return not any(callable(getattr(type(module), name, None)) for name in vars(module))
