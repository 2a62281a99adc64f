"""`llmguide.coding.complexity.fit_class` for many weighted samples of the points at once."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def fast_errors(growths: list[Array], y: Array, weights: Array) -> Array:
    """Compute the relative error of each class, fitted to each weighted sample of the points.

    Args:
        growths: Growth of each class at the n sizes, slowest class first.
        y: Steps at the n sizes.
        weights: Number of times that each sample contains each point, shape (samples, n).

    Returns:
        Root mean square relative errors, shape (classes, samples).
    """
    columns = [growth / y for growth in growths]
    return np.array(
        [
            np.min([_error(column, lower, weights) for lower in (np.zeros_like(y), *columns[:i])], axis=0)
            for i, column in enumerate(columns)
        ]
    )


def _error(u: Array, v: Array, weights: Array) -> Array:
    """Minimize the root mean square of a u + b v - 1 over a and b; infinite if a <= 0 at the minimum."""
    uu, uv, vv, u1, v1 = (weights @ product for product in (u * u, u * v, v * v, u, v))
    with np.errstate(divide="ignore", invalid="ignore"):
        if not v.any():
            a, b = u1 / uu, np.zeros_like(uu)
        else:
            determinant = uu * vv - uv * uv
            a, b = (u1 * vv - v1 * uv) / determinant, (v1 * uu - u1 * uv) / determinant
        rest = np.maximum(1 - (a * u1 + b * v1) / weights.sum(axis=1), 0)
    return np.where(a > 0, np.sqrt(rest), np.inf)
