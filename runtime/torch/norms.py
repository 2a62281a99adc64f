"""Norms of vectors and matrices, which are torch.linalg's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch.autograd.record import record, retitled
from torch.reductions import axes_of, kept_shape
from torch.refusal import refuse_gradient
from torch.tensor import alias, check_dim, function, make, method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.tensor import Tensor
    from torch.types import Dims, DType


def vector_norm(
    x: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """p-norm of the elements, taken as one vector."""
    if dtype is not None:
        x = x.to(dtype)
    if x.dtype.kind < 2:
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {x.dtype.title}"
        )
    array = np.abs(x._array) if ord != 2 or x.dtype.kind > 2 else x._array
    axes = axes_of(dim, array.ndim)
    kept = kept_shape(array.shape, axes)
    if ord == 2 and dim is None and not keepdim:
        flat = array.reshape(-1)
        found = np.sqrt(np.dot(flat, flat))  # as clipping asks of every gradient: in one pass
    elif ord == 2:
        found = np.sqrt((array * array).sum(axis=axes, keepdims=keepdim))
    elif ord == math.inf:
        found = array.max(axis=axes, keepdims=keepdim)
    elif ord == -math.inf:
        found = array.min(axis=axes, keepdims=keepdim)
    elif ord == 0:
        found = (array != 0).sum(axis=axes, keepdims=keepdim).astype(array.dtype)
    else:
        found = (array**ord).sum(axis=axes, keepdims=keepdim) ** array.dtype.type(1 / ord)

    def vjp(g: Tensor, y: Tensor) -> Tensor | None:
        g, y = g.reshape(kept), y.reshape(kept)
        if ord == 2:
            return (x * (g / y)).masked_fill(y == 0, 0)
        if ord == 1:
            return g * x.sgn()
        if ord == 0:
            return None
        if math.isinf(ord):
            same = x.abs() == y
            return g * x.sgn() * same / same.sum(axes, keepdim=True)
        return (g * x.sgn() * x.abs() ** (ord - 1) / y ** (ord - 1)).masked_fill(y == 0, 0)

    return record(
        "LinalgVectorNormBackward0",
        np.asarray(found, array.dtype),
        x.dtype.to_real(),
        (x,),
        (vjp,),
        (x,),
        keeps_output=True,
    )


def norm(
    A: Tensor,
    ord: float | str | None = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """Norm of a vector, or of a matrix if `ord` or `dim` says so."""
    axes = (dim,) if isinstance(dim, int) else dim
    n = A.ndim if axes is None else len(axes)
    if ord is None or (n == 1 and not isinstance(ord, str)):
        return vector_norm(A, 2 if ord is None else ord, axes, keepdim, dtype=dtype)
    if n not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {n}D."
            if axes is None
            else f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(axes)}"
        )
    return matrix_norm(A, ord, (-2, -1) if axes is None else axes, keepdim, dtype=dtype)


def matrix_norm(
    A: Tensor,
    ord: float | str = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """Norm of matrices: "fro", "nuc", 2, 1 or inf; -2, -1 and -inf take the smallest, not the largest."""
    if A.ndim < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    if len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(map(str, dim))}")
    if dtype is not None:
        A = A.to(dtype)
    if ord == "fro":
        return vector_norm(A, 2, dim, keepdim)
    if not isinstance(ord, str) and abs(ord) in (1, math.inf):
        summed, along = (check_dim(d, A.ndim) for d in (dim if abs(ord) == 1 else dim[::-1]))
        sums = vector_norm(A, 1, summed, keepdim)
        at = along - (along > summed and not keepdim)
        return sums.amax(at, keepdim) if ord > 0 else sums.amin(at, keepdim)
    if ord not in (2, -2, "nuc"):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    refuse_gradient("linalg.matrix_norm", A)
    s = np.linalg.svd(np.moveaxis(A._array, dim, (-2, -1)), compute_uv=False)
    values = s.sum(-1) if ord == "nuc" else s.max(-1) if ord == 2 else s.min(-1)
    return make(np.expand_dims(values, tuple(dim)) if keepdim else values, A.dtype)


def _tensor_norm(
    self: Tensor,
    p: float | str | None = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    dtype: DType | None = None,
) -> Tensor:
    """2-norm of the elements, another p-norm, or the nuclear norm of a matrix."""
    if isinstance(p, str) and p != "fro":
        axes = range(self.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
        return matrix_norm(self, p, axes, keepdim, dtype=dtype)
    return vector_norm(self, 2 if p is None or isinstance(p, str) else p, dim, keepdim, dtype=dtype)


alias("norm", _tensor_norm)


@method
@function
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """p-norm of the difference."""
    return retitled(vector_norm(input - other, p), "DistBackward0")
