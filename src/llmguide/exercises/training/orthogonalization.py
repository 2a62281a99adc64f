"""Exercise of Muon: orthogonalize an update."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.tensor_work import TensorWork
from llmguide.training.update_rules import orthogonalize

COEFFICIENTS = 3.4445, -4.775, 2.0315


def _newton_schulz(
    matrix: Tensor,
    *,
    n: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    normalized: bool = True,
    again: bool = False,
    smaller: bool = True,
    back: bool = True,
) -> Tensor:
    """Move the singular values of a matrix close to 1, with switches for the mistakes."""
    a, b, c = coefficients
    is_turned = matrix.shape[0] > matrix.shape[1] and smaller
    x = matrix.T if is_turned else matrix
    x = x / x.norm() if normalized else x
    for _ in range(n):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
        x = x / x.norm() if again else x
    return x.T if is_turned and back else x


def _of_entries(matrix: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    x: Tensor = matrix / matrix.norm()
    for _ in range(5):
        x = a * x + b * x**3 + c * x**5
    return x


def _exactly(matrix: Tensor) -> Tensor:
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    for _ in range(40):  # Newton and Schulz's own polynomial, which converges
        x = 1.5 * x - 0.5 * x @ x.T @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def _with_products(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe the result, and whether a matrix product is larger than the matrix."""
    with TensorWork() as work:
        result = function(*arguments)
    is_large = work.largest_product > arguments[0].numel()
    return result, "a product is larger than the matrix" if is_large else "small products"


EXERCISES = (
    Exercise(
        "orthogonalize",
        "orthogonalize(matrix) returns the matrix (m, n) with its singular vectors kept and its singular "
        "values moved close to 1, as the optimizer Muon does with its update. First divide the matrix by its "
        "Frobenius norm, the root of the sum of its squares. Then do five iterations, each of which replaces "
        "every singular value s by 3.4445 s - 4.775 s ** 3 + 2.0315 s ** 5. Use matrix products only, no "
        "decomposition. No product may have more entries than the matrix; the test checks this.",
        orthogonalize,
        lambda: [(0.2 * noise(10, 2, 3),), (0.15 * noise(11, 5, 2),), (0.2 * noise(12, 3, 3),)],
        (
            Mistake(
                "polynomial of the entries",
                "the polynomial is applied to each entry of the matrix",
                "Powers of entries change the singular vectors. With X = U S V^T, what is X X^T X?",
                _of_entries,
            ),
            Mistake(
                "fifth power missing",
                "the polynomial ends with the third power",
                "(X X^T) (X X^T) X has the fifth powers of the singular values.",
                partial(_newton_schulz, coefficients=(*COEFFICIENTS[:2], 0.0)),
            ),
            Mistake(
                "not normalized",
                "the matrix is not divided by its norm",
                "The polynomial is made for singular values between 0 and 1.",
                partial(_newton_schulz, normalized=False),
            ),
            Mistake(
                "normalized in each iteration",
                "the matrix is divided by its norm after each iteration",
                "That shrinks the singular values again. Divide once, before the first iteration.",
                partial(_newton_schulz, again=True),
            ),
            Mistake(
                "larger Gram matrix",
                "the product of the matrix with its transpose is the larger of the two possible ones",
                "The result is right, but a tall matrix costs more than it must. Transpose it first, and "
                "transpose the result back.",
                partial(_newton_schulz, smaller=False),
            ),
            Mistake(
                "not transposed back",
                "the result of a tall matrix is transposed",
                "The result has the shape of the matrix.",
                partial(_newton_schulz, back=False),
            ),
            Mistake(
                "four iterations",
                "there is one iteration too few",
                "Count the iterations: five after the normalization.",
                partial(_newton_schulz, n=4),
            ),
            Mistake(
                "singular values of 1",
                "all singular values are exactly 1",
                "A decomposition is too slow for every step. Five iterations give values around 1.",
                _exactly,
            ),
        ),
        (
            "Write the matrix as X = U S V^T. Which product of X and X^T has the singular vectors of X and "
            "the cubes of its singular values?",
            "X X^T X has the cubes. One more factor X X^T on the left gives the fifth powers.",
            "X X^T has m rows and columns. If m is larger than n, work with the transposed matrix.",
        ),
        level="hard",
        minutes=25,
        after="An orthogonal update moves the weights equally far in every direction of the input. Muon "
        "applies it to the momentum of each hidden matrix, in bfloat16.",
        observe=_with_products,
    ),
)
