"""Norms and decompositions, torch.linalg."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch.autograd.record import record, retitled
from torch.dtypes import int64
from torch.products import matmul
from torch.reductions import axes_of, kept_shape
from torch.refusal import refusal
from torch.shared_vjps import conjugated
from torch.tensor import alias, check_dim, function, make, method
from torch.tuples import named

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, NoReturn

    from torch.tensor import Tensor
    from torch.tuples import Named
    from torch.types import Array, Compute, Dims, DType

__all__ = [
    "LinAlgError", "cholesky", "det", "eigh", "eigvalsh", "inv", "lstsq", "matmul", "matrix_norm",
    "matrix_rank", "norm", "qr", "solve", "svd", "svdvals", "vecdot", "vector_norm",
]  # fmt: skip


class _LinAlgError(RuntimeError):
    """A matrix has no inverse."""


LinAlgError = _LinAlgError


def _refuse_gradient(name: str, *tensors: Tensor) -> None:
    if any(t.requires_grad for t in tensors):
        raise NotImplementedError(
            f"the gradient of torch.{name} is not in the in-page subset; run with PyTorch"
        )


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
    _refuse_gradient("linalg.matrix_norm", A)
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


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sum of products along an axis."""
    return (conjugated(x) * y).sum(dim)


def svd(A: Tensor, full_matrices: bool = True) -> Named:
    """Singular value decomposition U, S, Vh."""
    _refuse_gradient("linalg.svd", A)
    u, s, vh = np.linalg.svd(A._array, full_matrices=full_matrices)
    return named("linalg_svd", U=make(u, A.dtype), S=make(s, A.dtype.to_real()), Vh=make(vh, A.dtype))


def svdvals(A: Tensor) -> Tensor:
    """Singular values, the largest first."""
    _refuse_gradient("linalg.svdvals", A)
    return make(np.linalg.svd(A._array, compute_uv=False), A.dtype.to_real())


def _tensor_svd(self: Tensor, some: bool = True, compute_uv: bool = True) -> Named:
    """Singular value decomposition U, S, V."""
    u, s, vh = svd(self, full_matrices=not some)
    return named("svd", U=u, S=s, V=vh.mH)


alias("svd", _tensor_svd)


def qr(A: Tensor, mode: Literal["reduced", "complete"] = "reduced") -> Named:
    """QR decomposition."""
    _refuse_gradient("linalg.qr", A)
    q, r = np.linalg.qr(A._array, mode)
    return named("linalg_qr", Q=make(q, A.dtype), R=make(r, A.dtype))


def eigh(A: Tensor, UPLO: Literal["L", "U"] = "L") -> Named:
    """Eigenvalues, the smallest first, and eigenvectors of symmetric matrices."""
    _refuse_gradient("linalg.eigh", A)
    values, vectors = np.linalg.eigh(A._array, UPLO)
    return named(
        "linalg_eigh", eigenvalues=make(values, A.dtype.to_real()), eigenvectors=make(vectors, A.dtype)
    )


def eigvalsh(A: Tensor, UPLO: Literal["L", "U"] = "L") -> Tensor:
    """Eigenvalues of symmetric matrices, the smallest first."""
    _refuse_gradient("linalg.eigvalsh", A)
    return make(np.linalg.eigvalsh(A._array, UPLO), A.dtype.to_real())


def cholesky(A: Tensor) -> Tensor:
    """Lower triangular L with L L^T = A."""
    _refuse_gradient("linalg.cholesky", A)
    return make(np.linalg.cholesky(A._array), A.dtype)


def matrix_rank(A: Tensor) -> Tensor:
    """Rank."""
    return make(np.asarray(np.linalg.matrix_rank(A._array), np.int64), int64)


def inv(A: Tensor) -> Tensor:
    """Inverse."""
    if A._array.ndim < 2 or A._array.shape[-1] != A._array.shape[-2]:
        raise RuntimeError(
            f"linalg.inv: A must be batches of square matrices, but they are {A.shape[-2]} by {A.shape[-1]} "
            "matrices"
        )

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        return -(y.mH @ g @ y.mH)

    return record(
        "LinalgInvExBackward0",
        _solved(np.linalg.inv, "inv", A._array),
        A.dtype,
        (A,),
        (vjp,),
        keeps_output=True,
    )


def solve(A: Tensor, B: Tensor) -> Tensor:
    """Solve A x = B."""
    vector = B._array.ndim == 1
    b = B._array[:, None] if vector else B._array
    x = _solved(np.linalg.solve, "solve", A._array, b)

    def right(g: Tensor) -> Tensor:
        g = g.unsqueeze(-1) if vector else g
        found = solve(A.mH, g)
        return found.squeeze(-1) if vector else found

    def left(g: Tensor, y: Tensor) -> Tensor:
        g = right(g)
        g, y = (g.unsqueeze(-1), y.unsqueeze(-1)) if vector else (g, y)
        return -(g @ y.mH)

    return record(
        "LinalgSolveExBackward0",
        x[..., 0] if vector else x,
        A.dtype,
        (A, B),
        (left, lambda g, y: right(g)),
        (A, B),
        keeps_output=True,
    )


def _solved(compute: Compute, name: str, *arrays: Array) -> Array:
    try:
        found = compute(*arrays)
    except np.linalg.LinAlgError:
        found = None
    if found is None or not np.isfinite(found).all():  # in the tab numpy does not see the division by zero
        place = int(np.linalg.matrix_rank(arrays[0])) + 1
        raise LinAlgError(
            f"linalg.{name}: The diagonal element {place} is zero, the "
            f"{'inversion' if name == 'inv' else 'solve'} could "
            "not be completed because the input matrix is singular."
        )
    return found


def det(A: Tensor) -> Tensor:
    """Determinant."""

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        return (g * y).unsqueeze(-1).unsqueeze(-1) * inv(A).mH

    return record(
        "LinalgDetBackward0", np.linalg.det(A._array), A.dtype, (A,), (vjp,), (A,), keeps_output=True
    )


def lstsq(A: Tensor, B: Tensor) -> Named:
    """Least squares solution of A x = B."""
    _refuse_gradient("linalg.lstsq", A, B)
    x, residuals, rank, values = np.linalg.lstsq(A._array, B._array, rcond=None)
    return named(
        "linalg_lstsq",
        solution=make(x, A.dtype),
        residuals=make(residuals, A.dtype),
        rank=int(rank),
        singular_values=make(values, A.dtype),
    )


@method
@function
def inverse(input: Tensor) -> Tensor:
    """Inverse of a matrix."""
    return inv(input)


def __getattr__(name: str) -> NoReturn:
    raise refusal("torch.linalg", name)
