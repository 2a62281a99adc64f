"""Watching, or replacing, every function of torch that runs within a context."""

from __future__ import annotations

import functools
from types import FunctionType
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.refusal import refusal
from torch.tensor import NAMES, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, Self


_modes: list[TorchFunctionMode] = []  # entered, innermost last
# (place, name, function) of what is replaced while a mode is entered
_originals: list[tuple[Any, str, FunctionType]] = []
# methods that are no operations on a tensor but belong to Python's objects
_OBJECT = {"__new__", "__init__", "__init_subclass__", "__hash__", "__repr__", "__str__", "__reduce_ex__"}


class TorchFunctionMode:
    """A subclass's ``__torch_function__(function, types, args, kwargs)`` is called in place of each function.

    Within it the mode is off, so it may call ``function`` itself. Functions are replaced where they are
    looked up (``torch``, ``torch.nn.functional`` and the methods of Tensor) only while a mode is entered, so
    that at all other times nothing is slower for it.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Self:
        if not _modes:
            _replace()
        _modes.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _modes.pop()
        if not _modes:
            while _originals:
                place, name, original = _originals.pop()
                setattr(place, name, original)


def _replace() -> None:
    for name, function in NAMES.items():
        _watch(torch, name, function)
    for name in functional.__all__:
        _watch(functional, name, getattr(functional, name))
    for name, function in list(vars(Tensor).items()):
        if name not in _OBJECT:
            _watch(Tensor, name, function)


def _watch(place: Any, name: str, function: Any) -> None:
    if type(function) is not FunctionType:
        return

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if not _modes:
            return function(*args, **kwargs)
        mode = _modes.pop()
        try:
            # an outer mode, if there is one, is asked next
            return mode.__torch_function__(watched if _modes else function, (), args, kwargs)
        finally:
            _modes.append(mode)

    _originals.append((place, name, function))
    setattr(place, name, watched)


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.overrides", name)
