"""The named tuples that operations with several results return."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from torch.tensor import Tensor


class Named(tuple["Tensor", ...]):
    """Results, which can be had by name as well."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __repr__(self) -> str:
        body = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"torch.return_types.{type(self).__name__}(\n{body})"

    def __getattr__(self, name: str) -> Tensor:
        if name in self._fields:
            return self[self._fields.index(name)]
        raise AttributeError(f"'torch.return_types.{type(self).__name__}' object has no attribute '{name}'")


_types: dict[str, type[Named]] = {}


def named(name: str, **values: Any) -> Named:
    """A tuple of the values, which can be had by name as well."""
    if name not in _types:
        _types[name] = type(name, (Named,), {"__slots__": (), "_fields": tuple(values)})
    return tuple.__new__(_types[name], values.values())
