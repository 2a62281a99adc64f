"""Decompositions, inverses and determinants, torch.linalg."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch.autograd.record import record
from torch.dtypes import int64
from torch.norms import matrix_norm, norm, vector_norm
from torch.products import matmul
from torch.refusal import refusal, refuse_gradient
from torch.shared_vjps import conjugated
from torch.tensor import alias, function, make, method
from torch.tuples import named

if TYPE_CHECKING:
    from typing import Literal, NoReturn

    from torch.tensor import Tensor
    from torch.tuples import Named
    from torch.types import Array, Compute

__all__ = [
    "LinAlgError", "cholesky", "det", "eigh", "eigvalsh", "inv", "lstsq", "matmul", "matrix_norm",
    "matrix_rank", "norm", "qr", "solve", "svd", "svdvals", "vecdot", "vector_norm",
]  # fmt: skip


class _LinAlgError(RuntimeError):
    """A matrix has no inverse."""


LinAlgError = _LinAlgError


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sum of products along an axis."""
    return (conjugated(x) * y).sum(dim)


def svd(A: Tensor, full_matrices: bool = True) -> Named:
    """Singular value decomposition U, S, Vh."""
    refuse_gradient("linalg.svd", A)
    u, s, vh = np.linalg.svd(A._array, full_matrices=full_matrices)
    return named("linalg_svd", U=make(u, A.dtype), S=make(s, A.dtype.to_real()), Vh=make(vh, A.dtype))


def svdvals(A: Tensor) -> Tensor:
    """Singular values, the largest first."""
    refuse_gradient("linalg.svdvals", A)
    return make(np.linalg.svd(A._array, compute_uv=False), A.dtype.to_real())


def _tensor_svd(self: Tensor, some: bool = True, compute_uv: bool = True) -> Named:
    """Singular value decomposition U, S, V."""
    u, s, vh = svd(self, full_matrices=not some)
    return named("svd", U=u, S=s, V=vh.mH)


alias("svd", _tensor_svd)


def qr(A: Tensor, mode: Literal["reduced", "complete"] = "reduced") -> Named:
    """QR decomposition."""
    refuse_gradient("linalg.qr", A)
    q, r = np.linalg.qr(A._array, mode)
    return named("linalg_qr", Q=make(q, A.dtype), R=make(r, A.dtype))


def eigh(A: Tensor, UPLO: Literal["L", "U"] = "L") -> Named:
    """Eigenvalues, the smallest first, and eigenvectors of symmetric matrices."""
    refuse_gradient("linalg.eigh", A)
    values, vectors = np.linalg.eigh(A._array, UPLO)
    return named(
        "linalg_eigh", eigenvalues=make(values, A.dtype.to_real()), eigenvectors=make(vectors, A.dtype)
    )


def eigvalsh(A: Tensor, UPLO: Literal["L", "U"] = "L") -> Tensor:
    """Eigenvalues of symmetric matrices, the smallest first."""
    refuse_gradient("linalg.eigvalsh", A)
    return make(np.linalg.eigvalsh(A._array, UPLO), A.dtype.to_real())


def cholesky(A: Tensor) -> Tensor:
    """Lower triangular L with L L^T = A."""
    refuse_gradient("linalg.cholesky", A)
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
    refuse_gradient("linalg.lstsq", A, B)
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


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.linalg", name)
