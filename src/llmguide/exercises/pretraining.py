"""Exercises of the pre-training chapter: the loss, the optimizer and its schedule."""

from collections.abc import Callable
from functools import partial
from math import cos, pi, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.training.losses import next_token_loss
from llmguide.training.schedules import warmup_cosine
from llmguide.training.update_rules import adamw, clip_grad_norm_

# ---- the loss --------------------------------------------------------------------------------------


def _loss(logits: Tensor, ids: Tensor) -> Tensor:
    return next_token_loss(lambda inputs: logits[:, : inputs.shape[1]], ids, chunked=False)


def _cross_entropy(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def _loss_probes() -> list[Arguments]:
    ids = torch.randint(7, (3, 6), generator=torch.Generator().manual_seed(0))
    return [(noise(0, 3, 6, 7), ids), (3 * noise(1, 1, 2, 4), torch.tensor([[2, 0]]))]


def _backward(
    x: Tensor,
    w1: Tensor,
    w2: Tensor,
    grad: Tensor,
    *,
    mask: Callable[[Tensor], Tensor] = lambda hidden: (hidden > 0).to(hidden.dtype),
    mask_x: bool = True,
    mean: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of a two-layer network, with switches for the mistakes."""
    hidden = x @ w1.T
    unmasked = grad @ w2
    grad_hidden = unmasked * mask(hidden)
    scale = 1 / len(x) if mean else 1.0
    grad_x = (grad_hidden if mask_x else unmasked) @ w1
    return grad_x, scale * grad_hidden.T @ x, scale * grad.T @ hidden.relu()


def _backward_probes() -> list[Arguments]:
    return [
        (noise(7, 3, 2), noise(8, 4, 2), noise(9, 2, 4), noise(10, 3, 2)),
        (noise(11, 1, 3), noise(12, 2, 3), noise(13, 2, 2), torch.ones(1, 2)),
    ]


def _accumulated(losses: Tensor, counts: Tensor) -> Tensor:
    return (losses * counts).sum() / counts.sum()


# ---- the step --------------------------------------------------------------------------------------


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


# ---- the schedule ----------------------------------------------------------------------------------


def _schedule(step: int, n_steps: int, n_warmup: int, floor: float) -> float:
    return warmup_cosine(step, n_steps=n_steps, n_warmup=n_warmup, floor=floor)


def _cosine(
    step: int,
    n_steps: int,
    n_warmup: int,
    floor: float,
    *,
    shift: int = 0,
    whole: bool = False,
    turns: float = 1.0,
    add: bool = False,
    held: bool = True,
) -> float:
    """Compute warmup and cosine, with switches for the mistakes."""
    if step < n_warmup:
        return (step + shift) / n_warmup
    progress = step / n_steps if whole else (step - n_warmup) / (n_steps - n_warmup)
    fallen = (1 + cos(turns * pi * (min(progress, 1.0) if held else progress))) / 2
    return floor + fallen if add else floor + (1 - floor) * fallen


EXERCISES = (
    Exercise(
        "next-token-loss",
        "next_token_loss(logits, ids): mean cross entropy, in nats, of predicting each token from those "
        "before it. "
        "logits is (B, T, V), computed from ids (B, T); the target of the last position is not known.",
        _loss,
        _loss_probes,
        (
            Mistake(
                "label shift forgotten",
                "the logits of a position are compared with the token that the position has just read",
                "Position t predicts token t + 1: logits[:, :-1] against ids[:, 1:].",
                _cross_entropy,
            ),
            Mistake(
                "shifted the wrong way",
                "the logits of a position are compared with the token before it",
                "The future is predicted from the past: the targets lose their first token.",
                lambda logits, ids: _cross_entropy(logits[:, 1:], ids[:, :-1]),
            ),
            Mistake(
                "sum instead of mean",
                "the losses of the tokens are summed",
                "Divide by the number of predictions, or the best learning rate depends on the batch size.",
                lambda logits, ids: _cross_entropy(logits[:, :-1], ids[:, 1:], "sum"),
            ),
            Mistake(
                "softmax twice",
                "probabilities are passed to cross_entropy, which applies a softmax itself",
                "F.cross_entropy takes logits.",
                lambda logits, ids: _cross_entropy(logits[:, :-1].softmax(-1), ids[:, 1:]),
            ),
            Mistake(
                "bits instead of nats",
                "the logarithm has base 2",
                "torch's logarithms are natural.",
                lambda logits, ids: _loss(logits, ids) / torch.tensor(2.0).log(),
            ),
        ),
        (
            "How many predictions can be checked in a text of T tokens?",
            "Drop the last logits and the first token.",
        ),
    ),
    Exercise(
        "backpropagation",
        "backward(x, w1, w2, grad): the gradients of a loss with respect to x (B, D), w1 (F, D) and "
        "w2 (E, F), as a tuple. The loss depends on y = relu(x @ w1.T) @ w2.T, and grad (B, E) is its "
        "gradient with respect to y. Do not use autograd.",
        _backward,
        _backward_probes,
        (
            Mistake(
                "derivative of ReLU forgotten",
                "the gradient passes through ReLU as if it were the identity",
                "Where the input of ReLU is negative, its output stays 0. What is the gradient there?",
                partial(_backward, mask=torch.ones_like),
            ),
            Mistake(
                "multiplied by the output of ReLU",
                "the gradient is multiplied by what ReLU returns",
                "The derivative of ReLU is 0 or 1, however large its input is.",
                partial(_backward, mask=torch.relu),
            ),
            Mistake(
                "mask inverted",
                "the gradient passes where the input of ReLU is negative",
                "ReLU passes positive inputs on, and so does its gradient.",
                partial(_backward, mask=lambda hidden: (hidden <= 0).to(hidden.dtype)),
            ),
            Mistake(
                "gradient of the output ignored",
                "grad is replaced by ones",
                "By the chain rule each gradient contains the factor grad.",
                lambda x, w1, w2, grad: _backward(x, w1, w2, torch.ones_like(grad)),
            ),
            Mistake(
                "averaged over the batch",
                "the gradients of the weights are divided by the batch size",
                "If the loss is a mean, grad already has the factor 1 / B. Rows of a batch add up.",
                partial(_backward, mean=True),
            ),
            Mistake(
                "ReLU left out for x",
                "the gradient with respect to x does not pass through ReLU, although that of w1 does",
                "x and w1 act on y only through the input of ReLU. Compute the gradient there once, and use "
                "it twice.",
                partial(_backward, mask_x=False),
            ),
        ),
        (
            "Name the steps: hidden = x @ w1.T, active = relu(hidden), y = active @ w2.T. Then go backward.",
            "For y = a @ w.T, the gradient of a is grad @ w, and that of w is grad.T @ a. Check the shapes.",
            "The chapter checks a gradient with finite differences. Wrap your code in a "
            "torch.autograd.Function, as it does for cross-entropy, and check it in the same way.",
        ),
        level="medium",
        minutes=20,
    ),
    Exercise(
        "accumulate",
        "accumulated_loss(losses, counts): the mean loss of a whole batch, from the means of its "
        "micro-batches and the numbers of tokens that each mean is over.",
        _accumulated,
        lambda: [
            (torch.tensor([2.0, 4.0, 1.0]), torch.tensor([10, 30, 5])),
            (torch.tensor([1.5, 0.5]), torch.tensor([1, 7])),
        ],
        (
            Mistake(
                "divided by the number of micro-batches",
                "every micro-batch counts the same, however few tokens it has",
                "A token in a short micro-batch would weigh more than one in a long one. Weight by the "
                "counts.",
                lambda losses, counts: losses.mean(),
            ),
            Mistake(
                "not divided",
                "the means are summed",
                "The gradient would grow with the number of micro-batches.",
                lambda losses, counts: losses.sum(),
            ),
            Mistake(
                "means summed, divided by the tokens",
                "the means are added as if they were sums",
                "Multiply each mean by its count first.",
                lambda losses, counts: losses.sum() / counts.sum(),
            ),
        ),
        ("A mean times its count is a sum.",),
    ),
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
        ),
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
    ),
    Exercise(
        "warmup-cosine",
        "warmup_cosine(step, n_steps, n_warmup, floor): the fraction of the peak learning rate at a step "
        "counted from 1. It rises linearly to 1 at n_warmup, falls as half a cosine to floor at n_steps, "
        "and stays there.",
        _schedule,
        lambda: [(step, 10, 4, 0.1) for step in (1, 3, 4, 6, 9, 10, 12)],
        (
            Mistake(
                "off by one",
                "steps are counted from 0",
                "At the end of the warmup, and not a step later, the factor is 1; at n_steps it is the "
                "floor.",
                lambda step, *rest: _cosine(step - 1, *rest),
            ),
            Mistake(
                "warmup one step too fast",
                "the warmup is (step + 1) / n_warmup",
                "That is right for steps counted from 0. These start at 1.",
                partial(_cosine, shift=1),
            ),
            Mistake(
                "cosine over the whole run",
                "the cosine starts at step 0, so that the rate jumps at the end of the warmup",
                "Progress runs from 0 at n_warmup to 1 at n_steps.",
                partial(_cosine, whole=True),
            ),
            Mistake(
                "a whole cosine",
                "the cosine runs through a full period and comes back up",
                "The angle goes from 0 to pi only.",
                partial(_cosine, turns=2.0),
            ),
            Mistake(
                "floor added",
                "the floor is added on top, so that the peak is above 1",
                "Compute floor + (1 - floor) times the cosine part.",
                partial(_cosine, add=True),
            ),
            Mistake(
                "rises again after the end",
                "the progress is not held at 1 after n_steps",
                "Use min(progress, 1).",
                partial(_cosine, held=False),
            ),
        ),
        (
            "progress = (step - n_warmup) / (n_steps - n_warmup)",
            "(1 + cos(pi * progress)) / 2 falls from 1 to 0.",
        ),
    ),
)
