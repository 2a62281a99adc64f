"""Exercises of gradients: two layers, the cross-entropy loss."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.training.gradient_check import check_gradient


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


def _checked_gradient(functions: dict[str, Callable[..., Any]]) -> str:
    """Compare a network whose gradients come from the answer with finite differences."""

    class Network(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
            ctx.save_for_backward(x, w1, w2)
            return (x @ w1.T).relu() @ w2.T

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            return functions["backward"](*ctx.saved_tensors, grad)

    def network(x: Tensor, w1: Tensor, w2: Tensor) -> Any:
        return Network.apply(x, w1, w2)  # type: ignore[no-untyped-call]

    found = check_gradient(network, *_backward_probes()[0][:3])
    return f"A network that calls your function in its backward pass: {found}"


IGNORED = -100


def loss_gradient(
    logits: Tensor,
    targets: Tensor,
    *,
    axis: int = -1,
    shifted: bool = True,
    sign: float = 1.0,
    divisor: Callable[[Tensor], float] = lambda counted: float(counted.sum()),
    padded: bool = False,
    least: float = 1.0,
) -> Tensor:
    """Compute the gradient of the mean cross-entropy loss, with switches for the mistakes."""
    counted = targets != IGNORED
    exponentials = (logits - logits.amax(axis, keepdim=True) if shifted else logits).exp()
    probabilities = exponentials / exponentials.sum(axis, keepdim=True)
    wanted = F.one_hot(targets.clamp(min=0), logits.shape[1]) * counted[:, None]
    gradient = sign * (probabilities - wanted)
    if not padded:
        gradient = gradient * counted[:, None]
    return gradient / torch.tensor(max(divisor(counted), least))


def _gradient_probes() -> list[Arguments]:
    return [
        (2 * noise(20, 4, 5), torch.tensor([3, IGNORED, 0, 4])),
        (torch.tensor([[200.0, 0.0, 1.0], [1.0, 2.0, 0.5]]), torch.tensor([1, 1])),
        (noise(21, 2, 3), torch.tensor([IGNORED, IGNORED])),
    ]


EXERCISES = (
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
        demo=_checked_gradient,
    ),
    Exercise(
        "loss-gradient",
        "loss_gradient(logits, targets) returns the gradient (N, V) of the mean cross-entropy loss with "
        "respect to the logits (N, V), without autograd. `targets` (N,) has the index of the right token of "
        "each row, or -100 if the row does not count, neither in the sum nor in the number that divides it. "
        "If no row counts, the gradient is 0. Logits can be in the hundreds.",
        loss_gradient,
        _gradient_probes,
        (
            Mistake(
                "divided by all rows",
                "the sum is divided by the number of all rows",
                "Rows with the target -100 do not count: divide by the number of the others.",
                partial(loss_gradient, divisor=len),
            ),
            Mistake(
                "sum instead of mean",
                "the gradient is that of the sum of the losses",
                "Divide by the number of rows that count.",
                partial(loss_gradient, divisor=lambda counted: 1.0),
            ),
            Mistake(
                "ignored rows pushed",
                "rows that do not count have a gradient as well",
                "The loss does not depend on them, so their gradient is 0.",
                partial(loss_gradient, padded=True),
            ),
            Mistake(
                "sign",
                "the gradient has the wrong sign",
                "A larger logit of the right token lowers the loss, so this entry is negative.",
                partial(loss_gradient, sign=-1.0),
            ),
            Mistake(
                "softmax over the rows",
                "the probabilities sum to 1 over the rows of the batch",
                "Each row has its own distribution over the vocabulary.",
                partial(loss_gradient, axis=0),
            ),
            Mistake(
                "overflow",
                "the exponentials of large logits overflow",
                "Subtract the largest logit of each row first, or use torch's softmax.",
                partial(loss_gradient, shifted=False),
            ),
            Mistake(
                "0 divided by 0",
                "the gradient is not a number if no row counts",
                "Divide by at least 1.",
                partial(loss_gradient, least=0.0),
            ),
        ),
        (
            "Start with one row. The loss is the logarithm of the sum of the exponentials, minus the logit "
            "of the right token. What is its derivative with respect to each logit?",
            "It is the probability of each token, minus 1 for the right one.",
            "Replace the target -100 by any valid index before you use it as one, and set these rows to 0 "
            "afterwards.",
        ),
        level="medium",
        minutes=20,
        after="Each row sums to 0. A step against the gradient raises the logit of the right token and "
        "lowers all others, each in proportion to its probability.",
    ),
)
