"""What a tensor says of itself: its shape, where it lives, how it lies in memory."""

import numpy as np


class Size(tuple):
    """Shape of a tensor."""

    __slots__ = ()

    def numel(self):
        """Number of elements."""
        return int(np.prod(self, dtype=np.int64))

    def __repr__(self):
        return f"torch.Size({list(self)})"

    def __getitem__(self, index):
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other):
        return Size(tuple.__add__(self, other))


class device:
    """Where a tensor lives: always the CPU, though the name "meta" or "cuda" can be written down."""

    def __init__(self, type, index=None):
        name, _, number = str(type).partition(":")
        if name not in ("cpu", "cuda", "meta", "mps"):
            raise RuntimeError(
                f"Expected one of cpu, cuda, mps, meta device type at start of device string: {name}"
            )
        self.type = name
        self.index = int(number) if number else index

    def __repr__(self):
        return f"device(type='{self.type}'" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other):
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self):
        return hash((self.type, self.index))

    def __reduce__(self):
        return device, (self.type, self.index)


CPU = device("cpu")


def check_device(where):
    """Raise RuntimeError unless `where` is the CPU; None is."""
    if where is not None and (where if type(where) is device else device(where)).type != "cpu":
        raise RuntimeError(f"the in-page subset has the CPU only, not {where}; run with PyTorch")


class layout:
    """How elements lie in memory: dense, here."""

    def __repr__(self):
        return "torch.strided"


strided = layout()
