"""Saving and loading: a zip file of one pickle and the numbers of each tensor.

The container is that of this subset; PyTorch cannot read it, nor this subset PyTorch's. Loading accepts
tensors and plain Python values only, as torch.load does by default: no other pickled object is ever made.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torch import dtypes
from torch.attributes import Size, device
from torch.nn.parameter import Parameter
from torch.tensor import Tensor, function, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike
    from typing import IO

_ALLOWED: dict[tuple[str, str], Any] = {
    (each.__module__, each.__qualname__): each for each in (OrderedDict, Size, device)
}
_ALLOWED[dtypes.__name__, "_by_name"] = dtypes.BY_NAME.__getitem__


class _Pickler(pickle.Pickler):
    """Puts tensors aside; the pickle only names them."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, protocol=4)
        self.tensors: list[Tensor] = []
        self.place: dict[int, int] = {}

    def persistent_id(self, obj: object) -> tuple[int, bool, str, tuple[int, ...], bool] | None:
        if not isinstance(obj, Tensor):
            return None
        if id(obj) not in self.place:
            self.place[id(obj)] = len(self.tensors)
            self.tensors.append(obj)
        return (
            self.place[id(obj)],
            isinstance(obj, Parameter),
            obj.dtype.name,
            tuple(obj.shape),
            obj.requires_grad,
        )


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], read: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self.read = read
        self.made: dict[int, Tensor] = {}

    def persistent_load(self, pid: tuple[int, bool, str, tuple[int, ...], bool]) -> Tensor:
        place, is_parameter, name, shape, requires_grad = pid
        if place not in self.made:
            dtype = dtypes.BY_NAME[name]
            array = np.frombuffer(bytearray(self.read(f"data/{place}")), dtype.storage).reshape(shape)
            tensor = make(array, dtype)
            self.made[place] = (
                Parameter(tensor, requires_grad) if is_parameter else tensor.requires_grad_(requires_grad)
            )
        return self.made[place]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"Weights only load failed. Unsupported global: GLOBAL {module}.{name} was not an allowed "
                "global by default. The in-page subset reads tensors and plain Python values only."
            )
        return _ALLOWED[module, name]


@function
def save(obj: object, f: str | PathLike[str] | IO[bytes]) -> None:
    """Write tensors, in any nesting of dicts, lists and plain values, to a path or an open file."""
    content = io.BytesIO()
    pickler = _Pickler(content)
    pickler.dump(obj)
    with zipfile.ZipFile(f, "w") as archive:
        archive.writestr(zipfile.ZipInfo("data.pkl"), content.getvalue())
        for place, tensor in enumerate(pickler.tensors):
            archive.writestr(zipfile.ZipInfo(f"data/{place}"), np.ascontiguousarray(tensor._array).tobytes())


@function
def load(
    f: str | PathLike[str] | IO[bytes],
    map_location: object = None,
    *,
    weights_only: bool = True,
    mmap: bool | None = None,
) -> Any:
    """Read what `save` wrote.

    Args:
        f: A path or an open file.
        map_location: The CPU, whatever is asked for.
        weights_only: Must be True: this subset makes no other objects.
        mmap: Without effect.

    Raises:
        UnpicklingError: The file holds objects other than tensors and plain values.
        RuntimeError: It is not a file of `save`, or damaged.
    """
    if not weights_only:
        raise NotImplementedError(
            "torch.load with weights_only=False is not in the in-page subset; run with PyTorch"
        )
    try:
        with zipfile.ZipFile(Path(f) if isinstance(f, str) else f) as archive:
            return _Unpickler(io.BytesIO(archive.read("data.pkl")), archive.read).load()
    except (zipfile.BadZipFile, KeyError) as error:
        raise RuntimeError(
            f"{f} is no file of the in-page subset's torch.save, or damaged: {error}"
        ) from error
