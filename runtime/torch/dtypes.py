"""Element types: what each is called, which numpy type stores it, and what two of them make.

numpy has no bfloat16, and its float16 rounds scalars before it multiplies. So both half precision types are
kept as float32 arrays whose numbers are rounded after each operation, which is what torch's CPU kernels do.
The two 8-bit types are kept so too, and only converted: torch's CPU kernels do little more with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch.types import Array


class dtype:
    """An element type.

    Attributes:
        name: As in ``torch.float32``.
        storage: numpy type of the array that holds the elements.
        kind: 0 bool, 1 integer, 2 floating, 3 complex; an operation gives the higher kind.
        itemsize: Bytes that torch stores for an element.
        rounded: Rounds a float32 array to what the type can hold; None where the array is exact.
        is_narrow: Whether it is a floating point type of 8 bits, of which tensors are only converted.
    """

    def __init__(
        self,
        name: str,
        storage: Any,
        kind: int,
        itemsize: int,
        title: str,
        rounded: Callable[[Array], Array] | None = None,
    ) -> None:
        self.name = name
        self.storage = np.dtype(storage)
        self.kind = kind
        self.itemsize = itemsize
        self.title = title  # what error messages and Tensor.type() call it: Float, Long
        self.rounded = rounded
        self.is_floating_point = kind == 2
        self.is_narrow = kind == 2 and itemsize == 1
        self.is_complex = kind == 3
        self.is_signed = name not in ("bool", "uint8")

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Callable[[str], dtype], tuple[str]]:
        return _by_name, (self.name,)  # a type is itself, in copies and in files

    def to_real(self) -> dtype:
        """Type of the real and the imaginary part."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def to_complex(self) -> dtype:
        """Complex type with parts of this type."""
        return {"float32": complex64, "float64": complex128}.get(self.name, self)


def _round_bfloat16(array: Array) -> Array:
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    # to the nearest, ties to even: add half of the last kept bit, less one where that bit is 0
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded &= np.uint32(0xFFFF0000)
    found = rounded.view(np.float32).reshape(np.shape(array))
    is_nan = np.isnan(array)
    return np.where(is_nan, np.float32(np.nan), found) if is_nan.any() else found


def _round_float16(array: Array) -> Array:
    return array.astype(np.float16).astype(np.float32)


def _rounder(digits: int, smallest: int, largest: float, beyond: float) -> Callable[[Array], Array]:
    """Rounds to `digits` binary digits after the first, down to the exponent `smallest`; ties go to even."""

    def rounded(array: Array) -> Array:
        exponent = np.maximum(np.frexp(array)[1] - 1, smallest)
        step = np.ldexp(1.0, exponent - digits)
        found = np.rint(array / step) * step
        is_beyond = np.isinf(array) | (np.abs(found) > largest)
        return np.where(is_beyond, np.copysign(beyond, array), found).astype(np.float32)

    return rounded


bool_ = dtype("bool", np.bool_, 0, 1, "Bool")
uint8 = dtype("uint8", np.uint8, 1, 1, "Byte")
int8 = dtype("int8", np.int8, 1, 1, "Char")
int16 = dtype("int16", np.int16, 1, 2, "Short")
int32 = dtype("int32", np.int32, 1, 4, "Int")
int64 = dtype("int64", np.int64, 1, 8, "Long")
float16 = dtype("float16", np.float32, 2, 2, "Half", _round_float16)
bfloat16 = dtype("bfloat16", np.float32, 2, 2, "BFloat16", _round_bfloat16)
# Micikevicius et al. 2022, arXiv:2209.05433, table 1; E4M3 has no infinity: torch stops at 448
float8_e4m3fn = dtype("float8_e4m3fn", np.float32, 2, 1, "Float8_e4m3fn", _rounder(3, -6, 448, 448))
float8_e5m2 = dtype("float8_e5m2", np.float32, 2, 1, "Float8_e5m2", _rounder(2, -14, 57344, np.inf))
float32 = dtype("float32", np.float32, 2, 4, "Float")
float64 = dtype("float64", np.float64, 2, 8, "Double")
complex64 = dtype("complex64", np.complex64, 3, 8, "ComplexFloat")
complex128 = dtype("complex128", np.complex128, 3, 16, "ComplexDouble")

ALL = (
    *(bool_, uint8, int8, int16, int32, int64),
    *(float8_e4m3fn, float8_e5m2, float16, bfloat16, float32, float64, complex64, complex128),
)
BY_NAME = {each.name: each for each in ALL}
# the types as torch's namespace holds them
NAMES = BY_NAME | {
    "half": float16,
    "float": float32,
    "double": float64,
    "short": int16,
    "int": int32,
    "long": int64,
    "cfloat": complex64,
    "cdouble": complex128,
}
_BY_STORAGE = {each.storage: each for each in ALL if each.rounded is None}
_BY_PYTHON = {bool: bool_, int: int64, float: float32, complex: complex64}
_default = float32


def _by_name(name: str) -> dtype:
    return BY_NAME[name]


def from_numpy_dtype(storage: np.dtype[Any]) -> dtype:
    """Type of a numpy array, or TypeError as torch words it."""
    if storage == np.float16:
        return float16
    if storage not in _BY_STORAGE:
        raise TypeError(
            f"can't convert np.ndarray of type {storage.type.__module__}.{storage.type.__name__}. The only "
            "supported types are: float64, float32, float16, complex64, complex128, int64, int32, int16, "
            "int8, uint64, uint32, uint16, uint8, and bool."
        )
    return _BY_STORAGE[storage]


def get_default_dtype() -> dtype:
    """Type of numbers with a decimal point."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Choose it; only float32 and float64 are of use here."""
    global _default  # noqa: PLW0603  # the setting is global in torch as well
    if not d.is_floating_point:
        raise TypeError(
            f"only floating-point types are supported as the default type, got {d}; "
            "pass torch.float32 or torch.float64"
        )
    _default = d
    _BY_PYTHON[float] = d
    _BY_PYTHON[complex] = d.to_complex()


def of_scalar(value: Any) -> dtype:
    """Type that a Python number counts as."""
    return _BY_PYTHON[type(value)] if type(value) in _BY_PYTHON else _of_odd_scalar(value)


def _of_odd_scalar(value: Any) -> dtype:
    if isinstance(value, np.generic):
        return from_numpy_dtype(value.dtype)
    for python in (bool, int, float, complex):
        if isinstance(value, python):
            return _BY_PYTHON[python]
    raise TypeError(f"expected a tensor or a number, but got {type(value).__name__}")


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """Smallest type that holds both, where a higher kind wins whatever its size."""
    if type1 is type2:
        return type1
    if type1.is_narrow or type2.is_narrow:
        raise RuntimeError(
            "Promotion for Float8 Types is not supported, attempted to promote "
            f"{type1.title} and {type2.title}"
        )
    low, high = sorted((type1, type2), key=lambda each: (each.kind, each.itemsize))
    if low.kind < high.kind:
        if high is complex64 and low is float64:
            return complex128
        return high
    if high.kind == 1:
        return _BY_STORAGE[np.promote_types(low.storage, high.storage)]
    if low.itemsize == high.itemsize:  # float16 and bfloat16: neither holds the other
        return float32
    return high


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether the result of an operation may be written into a tensor of type `to`: no higher kind."""
    return from_.kind <= to.kind


class finfo:
    """Limits of a floating point type."""

    def __init__(self, type: dtype | None = None) -> None:
        d = type or _default
        if not (d.is_floating_point or d.is_complex):
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{d!r}'"
            )
        d = d.to_real()
        self.dtype = d.name
        self.bits = 8 * d.itemsize
        if d is bfloat16:
            self.eps, self.max, self.tiny = 2.0**-7, (2 - 2.0**-7) * 2.0**127, 2.0**-126
            self.resolution = 0.01
        elif d.is_narrow:
            digits, smallest, self.max = (3, -6, 448.0) if d is float8_e4m3fn else (2, -14, 57344.0)
            self.eps, self.tiny, self.resolution = 2.0**-digits, 2.0**smallest, 1.0
        else:
            info = np.finfo(d.name)
            self.eps, self.max, self.tiny = float(info.eps), float(info.max), float(info.tiny)
            self.resolution = float(info.resolution)
        self.min = -self.max
        self.smallest_normal = self.tiny

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer type."""

    def __init__(self, type: dtype) -> None:
        if type.kind != 1:
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type!r}'"
            )
        info = np.iinfo(type.storage)
        self.dtype, self.bits, self.min, self.max = type.name, info.bits, int(info.min), int(info.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
