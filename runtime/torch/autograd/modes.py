"""Whether operations are recorded: `no_grad`, `inference_mode` and kin."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, Self, TypeVar, cast

from torch.tensor import function

_F = TypeVar("_F", bound=Callable[..., Any])


class _Mode:
    """Whether operations are recorded."""

    __slots__ = ("enabled", "inference")

    def __init__(self) -> None:
        self.enabled = True
        self.inference = False


mode = _mode = _Mode()  # the second name is for those whose argument is called mode


class _Setting:
    """A context manager that also decorates functions."""

    value: bool
    before: tuple[bool, bool]

    def __call__(self, wrapped: _F) -> _F:
        @functools.wraps(wrapped)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.again():
                return wrapped(*args, **kwargs)

        @functools.wraps(wrapped)
        def each(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            # the setting holds within the generator, not where its values go
            values = wrapped(*args, **kwargs)
            while True:
                with self.again():
                    try:
                        value = next(values)
                    except StopIteration as end:
                        return end.value
                yield value

        return cast(_F, each if inspect.isgeneratorfunction(wrapped) else call)

    def again(self) -> Self:
        """Another one of the same setting, so that one decorator can be entered many times."""
        return type(self)()

    def __enter__(self) -> None:
        self.before = mode.enabled, mode.inference
        mode.enabled = self.value

    def __exit__(self, *_: object) -> None:
        mode.enabled, mode.inference = self.before


@function
class no_grad(_Setting):
    """Record nothing."""

    value = False

    def __new__(cls, wrapped: Callable[..., Any] | None = None) -> Self:
        """Decorate at once if a function is given, as in ``@no_grad`` without brackets."""
        self = super().__new__(cls)
        return self if wrapped is None else self(wrapped)  # type: ignore[return-value]  # the function


@function
class enable_grad(no_grad):
    """Record, inside of `no_grad`."""

    value = True


@function
class inference_mode(_Setting):
    """Record nothing; here the same as `no_grad` but that `is_inference_mode_enabled` says so."""

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Self:
        """Decorate at once if a function is given."""
        if callable(mode):
            return cls()(mode)  # type: ignore[return-value]  # the function
        return super().__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        self.wanted = mode

    def again(self) -> Self:
        """Another one of the same setting."""
        return type(self)(self.wanted)

    def __enter__(self) -> None:
        self.before = mode.enabled, mode.inference
        mode.enabled, mode.inference = not self.wanted, self.wanted


@function
class set_grad_enabled(_Setting):
    """Record or not, from now on or as a context."""

    def __init__(self, mode: bool) -> None:
        self.value = bool(mode)
        self.before = _mode.enabled, _mode.inference
        _mode.enabled = self.value  # at once: it also works as a statement

    def __call__(self, wrapped: _F) -> _F:
        """Decorate, and take back what `__init__` has set."""
        _mode.enabled = self.before[0]
        return super().__call__(wrapped)

    def again(self) -> Self:
        """Another one of the same setting."""
        return type(self)(self.value)

    def __enter__(self) -> None:
        _mode.enabled = self.value


@function
def is_grad_enabled() -> bool:
    """Whether operations are recorded."""
    return mode.enabled


@function
def is_inference_mode_enabled() -> bool:
    """Whether `inference_mode` is on."""
    return mode.inference
