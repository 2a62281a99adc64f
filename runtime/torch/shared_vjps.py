"""Pieces of ways back that several files use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.promotion import NOTHING
from torch.tensor import Tensor

if TYPE_CHECKING:
    from typing import Any


def same(g: Tensor) -> Tensor:
    """Hand the gradient on."""
    return g


def negated(g: Tensor) -> Tensor:
    """Hand on its negative."""
    return -g


def zeroed(g: Tensor) -> Tensor:
    """Hand on zeros: the function is flat."""
    return g * 0


def conjugated(value: Any) -> Any:
    """The conjugate, which is the number itself unless it is complex."""
    if isinstance(value, Tensor):
        return value.conj() if value.dtype.kind == 3 else value
    return value.conjugate()


def crossed(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """What a product needs for the way back: each factor for the other's gradient."""
    return (b if a._wants_grad else NOTHING, a if b._wants_grad else NOTHING)
