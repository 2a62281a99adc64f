"""Activation checkpointing by name only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from torch.refusal import refusal

if TYPE_CHECKING:
    from collections.abc import Callable


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Call a function.

    Results and gradients are those of activation checkpointing, which would save memory: nothing is forgotten
    here, and nothing computed twice.
    """
    return function(*args, **kwargs)


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.utils.checkpoint", name)
