"""Several processes, of which a tab has none."""

from typing import TYPE_CHECKING, NoReturn

from torch.refusal import refusal


def is_available() -> bool:
    """Whether processes can be joined."""
    return False


def is_initialized() -> bool:
    """Whether they are."""
    return False


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.distributed", name)
