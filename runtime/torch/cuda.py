"""GPUs, of which a tab has none."""

from typing import TYPE_CHECKING, NoReturn

from torch.refusal import refusal


def is_available() -> bool:
    """Whether there is one."""
    return False


def device_count() -> int:
    """How many there are."""
    return 0


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether one computes in bfloat16."""
    return False


def manual_seed(seed: int) -> None:
    """Seed none."""


def manual_seed_all(seed: int) -> None:
    """Seed none."""


def empty_cache() -> None:
    """Free nothing."""


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.cuda", name)
