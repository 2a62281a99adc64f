"""`repr` of a tensor, character for character as torch prints it.

The numbers of a tensor share one format. Floating point numbers are printed as integers with a point if all
are whole, with an exponent if the largest is over 1000 times the smallest (or very large, or very small),
and with four decimals otherwise. Of more than a thousand elements only the edges are shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torch import dtypes
from torch.tensor import function, method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.tensor import Tensor
    from torch.types import Array


@dataclasses.dataclass
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()
_PROFILES: dict[str, dict[str, float]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


@function
def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Choose how tensors are printed; without `sci_mode` the numbers decide on exponents."""
    if profile is not None:
        for name, value in _PROFILES[profile].items():
            setattr(_options, name, value)
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    for name, chosen in given.items():
        if chosen is not None:
            setattr(_options, name, chosen)
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """How tensors are printed."""
    return dataclasses.asdict(_options)


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Print otherwise for a while."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


class _Format:
    """The common format of numbers."""

    def __init__(self, array: Array) -> None:
        values = array.reshape(-1)
        self.floating = array.dtype.kind == "f"
        self.whole, self.exponent, self.width = True, False, 1
        if not self.floating:
            self.width = max((len(str(value)) for value in values.tolist()), default=1)
            return
        values = values[np.isfinite(values) & (values != 0)].astype(np.float64)
        if not values.size:
            return
        self.whole = bool((values == np.ceil(values)).all())
        low, high = np.abs(values).min(), np.abs(values).max()
        self.exponent = bool(high / low > 1000 or high > 1e8 or low < 1e-4)
        if _options.sci_mode is not None:
            self.exponent = _options.sci_mode
        self.width = max(1, *(len(self(value)) for value in values.tolist()))

    def __call__(self, value: float) -> str:
        if not self.floating:
            text = str(value)
        elif self.exponent:
            text = f"{value:.{_options.precision}e}"
        elif self.whole:
            text = f"{value:.0f}" + ("." if math.isfinite(value) else "")
        else:
            text = f"{value:.{_options.precision}f}"
        return text.rjust(self.width)


class _ComplexFormat:
    def __init__(self, array: Array) -> None:
        self.real, self.imag = _Format(array.real), _Format(array.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, value: complex) -> str:
        imaginary = self.imag(value.imag).lstrip() + "j"
        return self.real(value.real) + ("" if imaginary[0] in "+-" else "+") + imaginary


def _edges(array: Array) -> Array:
    """The elements that are shown of a large array."""
    n = _options.edgeitems
    for axis, size in enumerate(array.shape):
        if size > 2 * n:
            array = np.take(array, [*range(n), *range(size - n, size)], axis)
    return array


def _rows(array: Array, indent: int, formatted: _Format | _ComplexFormat, shortened: bool) -> str:
    n = _options.edgeitems
    if array.ndim == 0:
        return formatted(array.item())
    hidden = shortened and len(array) > 2 * n
    if array.ndim == 1:
        if hidden:
            data = (
                [formatted(v) for v in array[:n].tolist()]
                + [" ..."]
                + [formatted(v) for v in array[-n:].tolist()]
            )
        else:
            data = [formatted(v) for v in array.tolist()]
        a_line = max(1, (_options.linewidth - indent) // (formatted.width + 2))
        lines = [", ".join(data[i : i + a_line]) for i in range(0, len(data), a_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    shown = [*range(n), None, *range(len(array) - n, len(array))] if hidden else range(len(array))
    parts = ["..." if i is None else _rows(array[i], indent + 1, formatted, shortened) for i in shown]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


@method
def __repr__(self: Tensor) -> str:
    """Print as torch does."""
    array, d = self._array, self.dtype
    prefix = "tensor(" if type(self).__name__ in ("Tensor", "Parameter") else f"{type(self).__name__}("
    default = dtypes.get_default_dtype()
    notes = []
    if array.size == 0:
        body = "[]"
        if array.ndim != 1:
            notes.append(f"size={tuple(array.shape)}")
        if d is not default:
            notes.append(f"dtype={d!r}")
    else:
        shortened = array.size > _options.threshold
        sample = _edges(array) if shortened else array
        formatted = _ComplexFormat(sample) if d.kind == 3 else _Format(sample)
        body = _rows(array, len(prefix), formatted, shortened)
        if d not in (default, default.to_complex(), dtypes.int64, dtypes.bool_):
            notes.append(f"dtype={d!r}")
    if self.grad_fn is not None:
        notes.append(f"grad_fn=<{self.grad_fn.title}>")
    elif self.requires_grad:
        notes.append("requires_grad=True")
    text = prefix + body
    used = len(text) - text.rfind("\n") + 1
    for note in notes:
        if used + len(note) + 2 > _options.linewidth:
            text += ",\n" + " " * len(prefix) + note
            used = len(prefix) + len(note)
        else:
            text += ", " + note
            used += len(note) + 2
    return text + ")"
