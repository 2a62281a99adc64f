"""Exercises of optimizers: AdamW, Muon, clipping."""

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.tensor_work import TensorWork
from llmguide.training.update_rules import adamw, clip_grad_norm_, orthogonalize

# ---- AdamW, clipping -------------------------------------------------------------------------------


LR, BETAS, EPS, DECAY = 0.1, (0.9, 0.95), 1e-3, 0.1  # an eps and a decay that can be seen in five digits


def _adamw(param: Tensor, grad: Tensor, m: Tensor, v: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    return adamw(param, grad, m, v, step=step, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)


def _adam(
    param: Tensor,
    grad: Tensor,
    m: Tensor,
    v: Tensor,
    step: int,
    *,
    betas: tuple[float, float] = BETAS,
    coupled: bool = False,
    corrected: bool = True,
    inside: bool = False,
    decay_rate: float = LR,
    squared: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take a step of AdamW, with switches for the mistakes."""
    grad = grad + DECAY * param if coupled else grad
    m = betas[0] * m + (1 - betas[0]) * grad
    v = betas[1] * v + (1 - betas[1]) * (grad.square() if squared else grad.abs())
    m_hat, v_hat = (m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)) if corrected else (m, v)
    root = (v_hat + EPS).sqrt() if inside else v_hat.sqrt() + EPS
    return param * (1 - (0 if coupled else decay_rate * DECAY)) - LR * m_hat / root, m, v


def _adam_probes() -> list[Arguments]:
    param, grad, m = noise(2, 5), 0.1 * noise(3, 5), 0.1 * noise(4, 5)
    return [(param, grad, torch.zeros(5), torch.zeros(5), 1), (param, grad, m, m.square() + 0.01, 3)]


def _clip(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    clip_grad_norm_(parameters, max_norm)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _clip_each(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return [clipped for gradient in gradients for clipped in _clip([gradient], max_norm)]


def _clip_always(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    norm = sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    return [gradient * max_norm / norm for gradient in gradients]


def _clip_sum(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    norm = sum(gradient.norm().item() for gradient in gradients)
    return [gradient * min(1.0, max_norm / norm) for gradient in gradients]


# ---- Muon ------------------------------------------------------------------------------------------

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
        "adamw",
        "adamw(param, grad, m, v, step) returns the new param, m and v after step `step`, counted from 1, "
        f"with a learning rate of {LR}, betas {BETAS}, eps {EPS} and a weight decay of {DECAY}.",
        _adamw,
        _adam_probes,
        (
            Mistake(
                "weight decay coupled",
                "the decay is added to the gradient (Adam with L2, not AdamW)",
                "Then it is divided by the root of v, and weights with large gradients hardly decay. Shrink "
                "the weights by themselves.",
                partial(_adam, coupled=True),
            ),
            Mistake(
                "bias correction forgotten",
                "m and v are used as they are, although they start at zero",
                "Divide m by 1 - beta_1 ** step, and v likewise.",
                partial(_adam, corrected=False),
            ),
            Mistake(
                "bias correction off by one step",
                "the moments are corrected as if this were already the next step",
                "At the first step the factor is 1 - beta, so that the corrected mean is the gradient.",
                lambda param, grad, m, v, step: _adam(param, grad, m, v, step + 1),
            ),
            Mistake(
                "eps inside the root",
                "eps is added under the root",
                "Add eps to the root: sqrt(v) + eps. Under the root, 1e-8 acts like 1e-4.",
                partial(_adam, inside=True),
            ),
            Mistake(
                "decay without the learning rate",
                "the decay is not multiplied by the learning rate",
                "As in torch: param * (1 - lr * weight_decay).",
                partial(_adam, decay_rate=1.0),
            ),
            Mistake(
                "betas swapped",
                "beta_1 belongs to v and beta_2 to m",
                "m forgets fast (0.9), v slowly (0.95 to 0.999).",
                partial(_adam, betas=BETAS[::-1]),
            ),
            Mistake(
                "gradient not squared",
                "v averages the size of the gradient instead of its square",
                "v is the mean of g squared; its root is in the unit of g.",
                partial(_adam, squared=False),
            ),
        ),
        (
            "Two moments, two bias corrections, one division.",
            "The decay shrinks the weight, before or after, by 1 - lr * decay.",
            "Write the lines in this order: new m, new v, both divided by 1 - beta ** step, then the "
            "shrunken weight minus lr * m / (sqrt(v) + eps).",
        ),
        level="medium",
        minutes=15,
    ),
    Exercise(
        "clip-norm",
        "clip(gradients, max_norm) takes a list of tensors and returns them, shrunk by one common factor so "
        "that their joint norm is at most max_norm.",
        _clip,
        lambda: [
            ([torch.tensor([3.0, 1.0]), torch.tensor([[4.0]])], 2.5),
            ([0.1 * noise(5, 3), 0.1 * noise(6, 2)], 1.0),
        ],
        (
            Mistake(
                "each tensor by itself",
                "every tensor is clipped by its own norm",
                "That changes the direction of the step. Use one norm over all gradients, and one factor.",
                _clip_each,
            ),
            Mistake(
                "values instead of norm",
                "each component is clamped",
                "Clamping changes the direction. Scale instead.",
                lambda gradients, max_norm: [g.clamp(-max_norm, max_norm) for g in gradients],
            ),
            Mistake(
                "small gradients enlarged",
                "the gradients are always scaled to max_norm",
                "The factor is at most 1.",
                _clip_always,
            ),
            Mistake(
                "norms added",
                "the joint norm is computed as the sum of the norms",
                "Squares add up: take the root of the sum of squares.",
                _clip_sum,
            ),
        ),
        ("Take the norm of all gradients as one vector.",),
        level="warm-up",
        minutes=10,
    ),
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
