"""Automatic mixed precision, which is always off here: numpy has no fast bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

from torch.dtypes import bfloat16
from torch.refusal import refusal
from torch.tensor import function

if TYPE_CHECKING:
    from torch.types import DType

_T = TypeVar("_T")


@function
class autocast:
    """A context and decorator that may be entered switched off; switched on it is refused."""

    def __init__(
        self,
        device_type: str,
        dtype: DType | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if enabled:
            raise NotImplementedError(
                "torch.autocast is not in the in-page subset, which computes in the type of its inputs; run "
                "with PyTorch, or pass enabled=False"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, wrapped: _T) -> _T:
        """Return a function as it is."""
        return wrapped


@function
def is_autocast_enabled(device_type: str = "cpu") -> bool:
    """Whether autocast is on."""
    return False


@function
def get_autocast_dtype(device_type: str) -> DType:
    """Type that autocast would compute in, if it were on."""
    return bfloat16


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.amp", name)
