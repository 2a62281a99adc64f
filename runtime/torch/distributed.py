"""Several processes, of which a tab has none."""

from typing import NoReturn

from torch.refusal import refusal


def is_available() -> bool:
    """Whether processes can be joined."""
    return False


def is_initialized() -> bool:
    """Whether they are."""
    return False


def __getattr__(name: str) -> NoReturn:
    raise refusal("torch.distributed", name)
