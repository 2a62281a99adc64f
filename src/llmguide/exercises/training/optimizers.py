"""Exercises of optimizers: AdamW, clipping."""

from collections.abc import Callable, Sequence
from functools import partial
from math import sqrt

import torch
from torch import Tensor, nn

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.training.update_rules import adamw, clip_grad_norm_

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
    corrected: tuple[bool, bool] = (True, True),
    inside: bool = False,
    decay_rate: float = LR,
    squared: bool = True,
    rooted: bool = True,
    sign: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take a step of AdamW, with switches for the mistakes."""
    grad = grad + DECAY * param if coupled else grad
    m = betas[0] * m + (1 - betas[0]) * grad
    v = betas[1] * v + (1 - betas[1]) * (grad.square() if squared else grad.abs())
    m_hat, v_hat = (
        moment / (1 - beta**step) if is_corrected else moment
        for moment, beta, is_corrected in zip((m, v), betas, corrected, strict=True)
    )
    root = (v_hat + EPS).sqrt() if inside else (v_hat.sqrt() if rooted else v_hat) + EPS
    return param * (1 - (0 if coupled else decay_rate * DECAY)) - sign * LR * m_hat / root, m, v


def _with_corrected(param: Tensor, m: Tensor, v: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    return param, m / (1 - BETAS[0] ** step), v / (1 - BETAS[1] ** step)


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


def _clip_by(
    gradients: list[Tensor], max_norm: float, *, joint: Callable[[Sequence[float]], float]
) -> list[Tensor]:
    """Clip by a number that is computed from the norm of each tensor."""
    norm = joint([gradient.norm().item() for gradient in gradients])
    return [gradient * min(1.0, max_norm / norm) for gradient in gradients]


EXERCISES = (
    Exercise(
        "adamw",
        "adamw(param, grad, m, v, step) returns a tuple of the new param, m and v after step `step`, counted "
        f"from 1, with a learning rate of {LR}, betas {BETAS}, eps {EPS} and a weight decay of {DECAY}.",
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
                partial(_adam, corrected=(False, False)),
            ),
            Mistake(
                "only m corrected",
                "v is used as it is, although it starts at zero",
                "Divide v by 1 - beta_2 ** step. In the first steps it is far too small without that.",
                partial(_adam, corrected=(True, False)),
            ),
            Mistake(
                "only v corrected",
                "m is used as it is, although it starts at zero",
                "Divide m by 1 - beta_1 ** step.",
                partial(_adam, corrected=(False, True)),
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
            Mistake(
                "no root",
                "the mean is divided by v instead of its root",
                "v is the mean of squares, so its root is in the unit of the gradient.",
                partial(_adam, rooted=False),
            ),
            Mistake(
                "no weight decay",
                "the weights do not decay",
                "Multiply the weights by 1 - lr * weight_decay.",
                partial(_adam, decay_rate=0.0),
            ),
            Mistake(
                "weights grow",
                "the weights are multiplied by 1 + lr * weight_decay",
                "The decay shrinks the weights: multiply by 1 - lr * weight_decay.",
                partial(_adam, decay_rate=-LR),
            ),
            Mistake(
                "step in the wrong direction",
                "the step is added, so that the loss rises",
                "The gradient points uphill. Subtract the step.",
                partial(_adam, sign=-1),
            ),
            Mistake(
                "corrected moments returned",
                "m and v are returned with their bias correction",
                "The next step averages m and v as they are. Correct them only in the update.",
                lambda param, grad, m, v, step: _with_corrected(*_adamw(param, grad, m, v, step), step),
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
                partial(_clip_by, joint=sum),
            ),
            Mistake(
                "root forgotten",
                "the sum of squares is taken for the norm",
                "The norm is the root of the sum of squares.",
                partial(_clip_by, joint=lambda norms: sum(norm**2 for norm in norms)),
            ),
            Mistake(
                "largest norm",
                "the largest of the norms is taken for the joint norm",
                "The norm of all gradients as one vector is the root of the sum of all squares.",
                partial(_clip_by, joint=max),
            ),
        ),
        ("Take the norm of all gradients as one vector.",),
        level="warm-up",
        minutes=10,
    ),
)
