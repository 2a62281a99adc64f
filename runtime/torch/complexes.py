"""Complex numbers: their parts, and pairs of real numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch.autograd.record import record
from torch.tensor import Tensor, function, make, method

if TYPE_CHECKING:
    from torch.types import Array, Number


@method
@function
def conj(input: Tensor) -> Tensor:
    """Conjugate."""
    if input.dtype.kind < 3:
        return input
    return record("ConjBackward0", input._array.conj(), input.dtype, (input,), (lambda g: g.conj(),))


@method
@function
def angle(input: Tensor) -> Tensor:
    """Angle of a complex number."""
    return make(np.angle(input._array).astype(input._array.real.dtype), input.dtype.to_real())


@function
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """Complex numbers of these absolute values and angles."""
    array = abs._array * np.exp(1j * angle._array.astype(np.float64))
    vjps = (
        lambda g: (g * polar(abs / abs, -angle)).real,
        lambda g: (g * polar(abs, -angle)).imag,
    )
    dtype = abs.dtype.to_complex()
    return record("PolarBackward0", array.astype(dtype.storage), dtype, (abs, angle), vjps, (abs, angle))


@function
def real(input: Tensor) -> Tensor:
    """Real parts, a view."""
    if input.dtype.kind < 3:
        return input
    return _part(input, input._array.real, 1, "RealBackward0")


@function
def imag(input: Tensor) -> Tensor:
    """Imaginary parts, a view."""
    if input.dtype.kind < 3:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return _part(input, input._array.imag, 1j, "ImagBackward0")


def _part(input: Tensor, array: Array, unit: Number, title: str) -> Tensor:
    out = make(array, input.dtype.to_real())
    found = record(title, array, out.dtype, (input,), (lambda g: g * unit,))
    found._array, found._root = array, input if input._root is None else input._root
    return found


for _part_of in (real, imag):
    setattr(Tensor, _part_of.__name__, property(_part_of))


@function
def view_as_real(input: Tensor) -> Tensor:
    """Complex numbers as pairs, in the same memory."""
    d = input.dtype.to_real()
    array = np.ascontiguousarray(input._array).view(d.storage).reshape(*input._array.shape, 2)
    return record("ViewAsRealBackward0", array, d, (input,), (lambda g: view_as_complex(g.contiguous()),))


@function
def view_as_complex(input: Tensor) -> Tensor:
    """Pairs as complex numbers, in the same memory."""
    if input._array.ndim == 0 or input._array.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    d = input.dtype.to_complex()
    array = np.ascontiguousarray(input._array).view(d.storage)[..., 0]
    return record("ViewAsComplexBackward0", array, d, (input,), (view_as_real,))


@function
def complex(real: Tensor, imag: Tensor) -> Tensor:
    """Complex numbers of two real parts."""
    d = real.dtype.to_complex()
    array = (real._array + 1j * imag._array).astype(d.storage)
    return record("ComplexBackward0", array, d, (real, imag), (lambda g: g.real, lambda g: g.imag))
