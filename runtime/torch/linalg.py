"""Norms and decompositions, torch.linalg."""

import math

import numpy as np

from torch.autograd.record import record, retitled
from torch.dtypes import int64
from torch.products import matmul
from torch.reductions import axes_of, kept_shape
from torch.refusal import refusal
from torch.shared_vjps import conjugated
from torch.tensor import alias, function, make, method
from torch.tuples import named

__all__ = [
    "LinAlgError", "cholesky", "det", "eigh", "eigvalsh", "inv", "lstsq", "matmul", "matrix_norm",
    "matrix_rank", "norm", "qr", "solve", "svd", "svdvals", "vecdot", "vector_norm",
]  # fmt: skip


class _LinAlgError(RuntimeError):
    """A matrix has no inverse."""


LinAlgError = _LinAlgError


def _refuse_gradient(name, *tensors):
    if any(t.requires_grad for t in tensors):
        raise NotImplementedError(
            f"the gradient of torch.{name} is not in the in-page subset; run with PyTorch"
        )


def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
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

    def vjp(g, y):
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


def norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """Norm of a vector, or of a matrix if `ord` or `dim` says so."""
    if ord is None or isinstance(dim, int) or (dim is None and A.ndim == 1):
        return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)
    return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim)


def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """Norm of matrices: "fro", "nuc", 2, 1 or inf."""
    if ord == "fro":
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if ord in (1, math.inf):
        along = dim if ord == 1 else dim[::-1]
        sums = vector_norm(A, 1, along[0], keepdim=True).amax(along[1], keepdim=True)
        return sums if keepdim else sums.squeeze(dim)
    _refuse_gradient("linalg.matrix_norm", A)
    s = np.linalg.svd(np.moveaxis(A._array, dim, (-2, -1)), compute_uv=False)
    found = {2: s.max(-1), -2: s.min(-1), "nuc": s.sum(-1)}[ord]
    return make(np.expand_dims(found, dim) if keepdim else found, A.dtype)


def _tensor_norm(self, p="fro", dim=None, keepdim=False, dtype=None):
    """2-norm of the elements, or another p-norm."""
    return vector_norm(self, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


alias("norm", _tensor_norm)


@method
@function
def dist(input, other, p=2):
    """p-norm of the difference."""
    return retitled(vector_norm(input - other, p), "DistBackward0")


def vecdot(x, y, *, dim=-1):
    """Sum of products along an axis."""
    return (conjugated(x) * y).sum(dim)


def svd(A, full_matrices=True):
    """Singular value decomposition U, S, Vh."""
    _refuse_gradient("linalg.svd", A)
    u, s, vh = np.linalg.svd(A._array, full_matrices=full_matrices)
    return named("linalg_svd", U=make(u, A.dtype), S=make(s, A.dtype.to_real()), Vh=make(vh, A.dtype))


def svdvals(A):
    """Singular values, the largest first."""
    _refuse_gradient("linalg.svdvals", A)
    return make(np.linalg.svd(A._array, compute_uv=False), A.dtype.to_real())


def _tensor_svd(self, some=True, compute_uv=True):
    """Singular value decomposition U, S, V."""
    u, s, vh = svd(self, full_matrices=not some)
    return named("svd", U=u, S=s, V=vh.mH)


alias("svd", _tensor_svd)


def qr(A, mode="reduced"):
    """QR decomposition."""
    _refuse_gradient("linalg.qr", A)
    q, r = np.linalg.qr(A._array, mode)
    return named("linalg_qr", Q=make(q, A.dtype), R=make(r, A.dtype))


def eigh(A, UPLO="L"):
    """Eigenvalues, the smallest first, and eigenvectors of symmetric matrices."""
    _refuse_gradient("linalg.eigh", A)
    values, vectors = np.linalg.eigh(A._array, UPLO)
    return named(
        "linalg_eigh", eigenvalues=make(values, A.dtype.to_real()), eigenvectors=make(vectors, A.dtype)
    )


def eigvalsh(A, UPLO="L"):
    """Eigenvalues of symmetric matrices, the smallest first."""
    _refuse_gradient("linalg.eigvalsh", A)
    return make(np.linalg.eigvalsh(A._array, UPLO), A.dtype.to_real())


def cholesky(A):
    """Lower triangular L with L L^T = A."""
    _refuse_gradient("linalg.cholesky", A)
    return make(np.linalg.cholesky(A._array), A.dtype)


def matrix_rank(A):
    """Rank."""
    return make(np.asarray(np.linalg.matrix_rank(A._array), np.int64), int64)


def inv(A):
    """Inverse."""
    if A._array.ndim < 2 or A._array.shape[-1] != A._array.shape[-2]:
        raise RuntimeError(
            f"linalg.inv: A must be batches of square matrices, but they are {A.shape[-2]} by {A.shape[-1]} "
            "matrices"
        )

    def vjp(g, y):
        return -(y.mH @ g @ y.mH)

    return record(
        "LinalgInvExBackward0",
        _solved(np.linalg.inv, "inv", A._array),
        A.dtype,
        (A,),
        (vjp,),
        keeps_output=True,
    )


def solve(A, B):
    """Solve A x = B."""
    vector = B._array.ndim == 1
    b = B._array[:, None] if vector else B._array
    x = _solved(np.linalg.solve, "solve", A._array, b)

    def right(g):
        g = g.unsqueeze(-1) if vector else g
        found = solve(A.mH, g)
        return found.squeeze(-1) if vector else found

    def left(g, y):
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


def _solved(compute, name, *arrays):
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


def det(A):
    """Determinant."""

    def vjp(g, y):
        return (g * y).unsqueeze(-1).unsqueeze(-1) * inv(A).mH

    return record(
        "LinalgDetBackward0", np.linalg.det(A._array), A.dtype, (A,), (vjp,), (A,), keeps_output=True
    )


def lstsq(A, B):
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
def inverse(input):
    """Inverse of a matrix."""
    return inv(input)


def __getattr__(name):
    raise refusal("torch.linalg", name)
