"""Products of vectors and matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch.array_matmul import array_matmul
from torch.autograd.record import record, retitled, write
from torch.shared_vjps import conjugated, crossed
from torch.tensor import Tensor, check_dim, function, method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.types import Array, DType, Number


def _same_type(*tensors: Tensor, name: str = "expected m1 and m2") -> None:
    first = tensors[0].dtype
    for t in tensors[1:]:
        if t.dtype is not first:
            short = {
                "float32": "float",
                "float64": "double",
                "int64": "long",
                "int32": "int",
                "float16": "c10::Half",
                "bfloat16": "c10::BFloat16",
                "bool": "bool",
            }
            a, b = short.get(first.name, first.name), short.get(t.dtype.name, t.dtype.name)
            raise RuntimeError(f"{name} to have the same dtype, but got: {a} != {b}")


def _product(x: Array, y: Array, dtype: DType) -> Array:
    """Matrix product of arrays."""
    if dtype.kind == 0:
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Bool'")
    return array_matmul(x, y)


def _turned(t: Tensor) -> Tensor:
    """Conjugate transpose of the last two axes."""
    return conjugated(t.mT)


@method
@function
def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Product of two matrices, into `out` if that is given."""
    if out is not None:
        return write(out, mm(input, mat2))
    x, y = input._array, mat2._array
    if x.ndim != 2 or y.ndim != 2:
        raise RuntimeError(f"{'self' if x.ndim != 2 else 'mat2'} must be a matrix")
    if x.shape[1] != y.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({x.shape[0]}x{x.shape[1]} and "
            f"{y.shape[0]}x{y.shape[1]})"
        )
    _same_type(input, mat2)
    vjps = (lambda g: g.mm(_turned(mat2)), lambda g: _turned(input).mm(g))
    return record(
        "MmBackward0", _product(x, y, input.dtype), input.dtype, (input, mat2), vjps, crossed(input, mat2)
    )


@method
@function
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two batches of matrices."""
    x, y = input._array, mat2._array
    if x.ndim != 3 or y.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor" if x.ndim != 3 else "batch2 must be a 3D tensor")
    if x.shape[0] != y.shape[0] or x.shape[2] != y.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{x.shape[0]}, {x.shape[2]}] "
            f"but got: [{y.shape[0]}, {y.shape[1]}]."
        )
    _same_type(input, mat2, name="expected scalar type")
    vjps = (lambda g: g.bmm(_turned(mat2)), lambda g: _turned(input).bmm(g))
    return record(
        "BmmBackward0", _product(x, y, input.dtype), input.dtype, (input, mat2), vjps, crossed(input, mat2)
    )


@method
@function
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Product of a matrix and a vector."""
    x, y = input._array, vec._array
    if x.ndim != 2 or y.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {y.ndim}, {x.ndim}, {y.ndim}")
    if x.shape[1] != y.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({x.shape[0]}), mat ({x.shape[0]}x{x.shape[1]}), vec ({y.shape[0]})"
        )
    _same_type(input, vec)
    vjps = (lambda g: outer(g, conjugated(vec)), lambda g: _turned(input).mv(g))
    return record(
        "MvBackward0", _product(x, y, input.dtype), input.dtype, (input, vec), vjps, crossed(input, vec)
    )


@method
@function
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Sum of the products of two vectors."""
    x, y = input._array, tensor._array
    if x.ndim != 1 or y.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {x.ndim}D and {y.ndim}D tensors")
    if x.shape != y.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{x.shape[0]}] and src [{y.shape[0]}] to have the "
            f"same number of elements, but got {x.shape[0]} and {y.shape[0]} elements respectively"
        )
    _same_type(input, tensor, name="dot : expected both vectors")
    vjps = (lambda g: g * conjugated(tensor), lambda g: g * conjugated(input))
    return record("DotBackward0", np.dot(x, y), input.dtype, (input, tensor), vjps, crossed(input, tensor))


@method
@function
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """Dot product with the conjugate of the first."""
    return conjugated(input).dot(other)


@method
@function
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sum of the products along the last axis."""
    if input._array.ndim == 0 or other._array.ndim == 0:
        return input * other
    return tensordot(input, other, ([-1], [-1]))


@method
@function
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of the elements of two vectors."""
    return input.unsqueeze(1) * vec2.unsqueeze(0)


@method
@function
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Product of vectors, matrices or batches of matrices."""
    if not isinstance(other, Tensor):
        raise TypeError(f"matmul(): argument 'other' (position 2) must be Tensor, not {type(other).__name__}")
    x, y = input._array, other._array
    if x.ndim == 0 or y.ndim == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {x.ndim}D and {y.ndim}D"
        )
    if x.ndim == 2 and y.ndim == 2:
        return mm(input, other)
    if x.ndim == 1:
        if y.ndim == 1:
            return dot(input, other)
        title = "SqueezeBackward4" if y.ndim == 2 else "UnsafeViewBackward0"
        return retitled(matmul(input.unsqueeze(0), other).squeeze(-2), title)
    if y.ndim == 1:
        if x.ndim == 2:
            return mv(input, other)
        return retitled(matmul(input, other.unsqueeze(1)).squeeze(-1), "UnsafeViewBackward0")
    _same_type(input, other)
    if x.shape[-1] != y.shape[-2]:
        if y.ndim == 2:
            rows = x.size // x.shape[-1] if x.shape[-1] else 0
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x.shape[-1]} and "
                f"{y.shape[0]}x{y.shape[1]})"
            )
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{x.size // (x.shape[-1] * x.shape[-2])}, "
            f"{x.shape[-1]}] but got: [{y.size // (y.shape[-1] * y.shape[-2])}, {y.shape[-2]}]."
        )
    if y.ndim == 2:  # one product of all rows, as torch does
        rows = x.reshape(-1, x.shape[-1])
        array = _product(rows, y, input.dtype).reshape(*x.shape[:-1], y.shape[1])

        def weight(g: Tensor) -> Tensor:
            return _turned(input.reshape(-1, input.shape[-1])).mm(g.reshape(-1, g.shape[-1]))

        vjps = (lambda g: matmul(g, _turned(other)), weight)
        return record("UnsafeViewBackward0", array, input.dtype, (input, other), vjps, crossed(input, other))
    try:
        array = _product(x, y, input.dtype)
    except ValueError:
        i = next(i for i in range(3, max(x.ndim, y.ndim) + 1) if x.shape[-i] != y.shape[-i])
        raise RuntimeError(
            f"The size of tensor a ({x.shape[-i]}) must match the size of tensor b ({y.shape[-i]}) at "
            f"non-singleton dimension {max(x.ndim, y.ndim) - i}"
        ) from None
    vjps = (lambda g: matmul(g, _turned(other)), lambda g: matmul(_turned(input), g))
    return record("UnsafeViewBackward0", array, input.dtype, (input, other), vjps, crossed(input, other))


@method
@function
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """`beta * input + alpha * mat1 @ mat2`."""
    _same_type(mat1, mat2)
    x, y = mat1._array, mat2._array
    if x.ndim != 2 or y.ndim != 2:
        raise RuntimeError(f"mat1 must be a matrix, got {x.ndim}-D tensor")
    if x.shape[1] != y.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({x.shape[0]}x{x.shape[1]} and "
            f"{y.shape[0]}x{y.shape[1]})"
        )
    array = _product(x, y, mat1.dtype)
    if alpha != 1:
        array *= array.dtype.type(alpha)
    if beta != 0:
        array = array + (input._array if beta == 1 else input._array * array.dtype.type(beta))
    vjps = (
        lambda g: g if beta == 1 else g * beta,
        lambda g: _scaled(g.mm(_turned(mat2)), alpha),
        lambda g: _scaled(_turned(mat1).mm(g), alpha),
    )
    return record("AddmmBackward0", array, mat1.dtype, (input, mat1, mat2), vjps, crossed(mat1, mat2))


def _scaled(g: Tensor, factor: Number) -> Tensor:
    return g if factor == 1 else g * factor


@method
@function
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """`beta * input + alpha * batch1 @ batch2`."""
    product = _scaled(bmm(batch1, batch2), alpha)
    return retitled(product if beta == 0 else _scaled(input, beta) + product, "BaddbmmBackward0")


@method
@function
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """`beta * input + alpha * mat @ vec`."""
    product = _scaled(mv(mat, vec), alpha)
    return retitled(product if beta == 0 else _scaled(input, beta) + product, "AddmvBackward0")


@function
def tensordot(a: Tensor, b: Tensor, dims: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """Sum of products over pairs of axes."""
    if isinstance(dims, int):
        first, second = list(range(a._array.ndim - dims, a._array.ndim)), list(range(dims))
    else:
        first = [check_dim(d, a._array.ndim) for d in dims[0]]
        second = [check_dim(d, b._array.ndim) for d in dims[1]]
    rest_a = [d for d in range(a._array.ndim) if d not in first]
    rest_b = [d for d in range(b._array.ndim) if d not in second]
    shape = [a.shape[d] for d in rest_a] + [b.shape[d] for d in rest_b]
    n = int(np.prod([a.shape[d] for d in first], dtype=np.int64))
    left = a.permute(rest_a + first).reshape(-1, n)
    return left.mm(b.permute(second + rest_b).reshape(n, -1)).reshape(shape)
