"""What a tensor says of itself: its shape, where it lives, how it lies in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from torch.types import Device


class Size(tuple[int, ...]):
    """Shape of a tensor."""

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements."""
        return int(np.prod(self, dtype=np.int64))

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, other))


class device:
    """Where a tensor lives: always the CPU, though the name "meta" or "cuda" can be written down."""

    def __init__(self, type: str | device, index: int | None = None) -> None:
        name, _, number = str(type).partition(":")
        if name not in ("cpu", "cuda", "meta", "mps"):
            raise RuntimeError(
                f"Expected one of cpu, cuda, mps, meta device type at start of device string: {name}"
            )
        self.type = name
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[type[device], tuple[str, int | None]]:
        return device, (self.type, self.index)

    def __enter__(self) -> device:
        return self  # tensors made inside are on the CPU, also for "meta"

    def __exit__(self, *_: object) -> None:
        pass


CPU = device("cpu")


def check_device(where: Device) -> None:
    """Raise RuntimeError unless `where` is the CPU; None is."""
    if where is not None and (where if type(where) is device else device(where)).type != "cpu":
        raise RuntimeError(f"the in-page subset has the CPU only, not {where}; run with PyTorch")


class layout:
    """How elements lie in memory: dense, here."""

    def __repr__(self) -> str:
        return "torch.strided"


strided = layout()
