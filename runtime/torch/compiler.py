"""What turns Python into machine code elsewhere, and is refused here."""

from typing import TYPE_CHECKING, NoReturn

from torch.refusal import refusal
from torch.tensor import function


@function
def compile(model: object = None, **options: object) -> NoReturn:
    """Refuse to compile."""
    raise NotImplementedError("torch.compile is not in the in-page subset; run with PyTorch")


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.compiler", name)
