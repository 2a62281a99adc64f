r"""The update rules of AdamW and Muon, and gradient clipping.

`adamw` and `muon` update one tensor once, as pure functions. `llmguide.training.optimizers` has the
optimizers that apply them to a model, `llmguide.training.schedules` the learning rate of each step.

References: AdamW (Kingma & Ba 2014, arXiv:1412.6980, algorithm 1; decoupled decay: Loshchilov & Hutter 2017,
arXiv:1711.05101, algorithm 2); Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) and its
scaling for large models (Moonlight, Liu et al. 2025, arXiv:2502.16982, section 2.2); clipping (Pascanu et
al. 2012, arXiv:1211.5063, algorithm 1).

| symbol | name here | meaning |
| --- | --- | --- |
| $\theta$, $g$ | `param`, `grad` | weights, their gradient |
| $m$, $v$ | `exp_avg`, `exp_avg_sq` | first and second moments: running means of $g$ and $g^2$ |
| $t$ | `step` | number of the step, from 1 |
| $\eta$, $\lambda$ | `lr`, `weight_decay` | learning rate, weight decay |
| $\mu$ | `momentum` | decay rate of the running mean |

Leaves out: AMSGrad and L2 decay through the gradient; torch.optim has them.
"""

from collections.abc import Iterable
from math import sqrt
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmguide.training.sharded_tensors import gathered, local_part

Scaling = Literal["original", "match_rms_adamw"]
Weights = Float[Tensor, "*shape"]


def adamw(
    param: Weights,
    grad: Weights,
    exp_avg: Weights,
    exp_avg_sq: Weights,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[Weights, Weights, Weights]:
    r"""Compute one step of AdamW on one tensor.

    $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
    \theta \leftarrow (1 - \eta \lambda)\, \theta
    - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$

    The moments start at zero, so they are biased toward zero at first; dividing by $1 - \beta^t$ corrects the
    bias exactly. As in torch, the weight decay is multiplied by the learning rate.

    Args:
        param: Weights to update.
        grad: Gradient of the loss.
        exp_avg: First moment $m$, zeros at first.
        exp_avg_sq: Second moment $v$, zeros at first.
        step: Number of this step, from 1.
        lr: Learning rate.
        betas: Decay rates $\beta_1$ and $\beta_2$ of the moments. The defaults are those of GPT-3
            (arXiv:2005.14165, appendix B); torch's $\beta_2$ of 0.999 averages over about a thousand steps
            and adapts slowly when gradients grow.
        eps: Constant $\epsilon$ added to the denominator, above 0.
        weight_decay: Coefficient $\lambda$ of decoupled weight decay.

    Returns:
        Updated weights, $m$ and $v$.

    >>> zero = torch.zeros(2)
    >>> param, m, v = adamw(torch.ones(2), torch.tensor([4.0, -0.01]), zero, zero, step=1, lr=0.1)
    >>> param.tolist()  # the first step moves each weight by lr against the sign of its gradient
    [0.9, 1.1]
    """
    beta_1, beta_2 = betas
    exp_avg = exp_avg.lerp(grad, 1 - beta_1)
    exp_avg_sq = (beta_2 * exp_avg_sq).addcmul_(grad, grad, value=1 - beta_2)
    denominator = exp_avg_sq.sqrt().div_(sqrt(1 - beta_2**step)).add_(eps)
    decayed = param * (1 - lr * weight_decay)
    return decayed.addcdiv_(exp_avg, denominator, value=-lr / (1 - beta_1**step)), exp_avg, exp_avg_sq


def orthogonalize(matrix: Float[Tensor, "m n"], *, n_iterations: int = 5) -> Float[Tensor, "m n"]:
    r"""Move every singular value of a matrix close to 1 and keep its singular vectors.

    With $G = U S V^\top$, normalized, each Newton-Schulz iteration
    $X \leftarrow a X + b\,(X X^\top) X + c\,(X X^\top)^2 X$ maps every singular value $s$ to
    $a s + b s^3 + c s^5$. Jordan's coefficients are steep at 0 and do not converge: after five iterations
    the values lie between about 0.7 and 1.2, which trains as well as 1.

    Args:
        matrix: Gradient matrix $G$; its dtype is that of the computation (`muon` passes bfloat16).
        n_iterations: Number of Newton-Schulz iterations.

    Returns:
        Approximately $U V^\top$.

    >>> orthogonalize(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), n_iterations=1).tolist()  # f(0.6), f(0.8)
    [[1.19327, 0.0], [0.0, 0.97648]]
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix  # use the smaller of the two Gram matrices
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(n_iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def muon(
    param: Float[Tensor, "m n"],
    grad: Float[Tensor, "m n"],
    exp_avg: Float[Tensor, "m n"],
    *,
    lr: float,
    momentum: float = 0.95,
    weight_decay: float = 0.0,
    scaling: Scaling = "match_rms_adamw",
) -> tuple[Float[Tensor, "m n"], Float[Tensor, "m n"]]:
    r"""Compute one step of Muon on one matrix: orthogonalized Nesterov momentum.

    $$m \leftarrow \mu m + (1 - \mu) g, \quad
    \theta \leftarrow (1 - \eta \lambda)\, \theta
    - \eta\, \rho\, \operatorname{orthogonalize}(\mu m + (1 - \mu) g)$$

    An orthogonal update changes all directions equally, whereas the gradient of a weight matrix is dominated
    by a few. Muon is for the hidden matrices of a network; embeddings, output head and vectors use AdamW.

    Args:
        param: Weights to update.
        grad: Gradient of the loss.
        exp_avg: First moment $m$, zeros at first.
        lr: Learning rate.
        momentum: Decay rate $\mu$ of the running mean, in [0, 1).
        weight_decay: Coefficient $\lambda$ of decoupled weight decay.
        scaling: Rule for the factor $\rho$, by torch's names. ``original`` (Jordan): $\sqrt{\max(1, m / n)}$.
            ``match_rms_adamw`` (Moonlight, section 2.2): $0.2 \sqrt{\max(m, n)}$, which gives updates the
            size of AdamW's, so both can share learning rate and weight decay.

    Returns:
        Updated weights and $m$.

    >>> param, _ = muon(torch.zeros(2, 2), torch.diag(torch.tensor([2.0, -2.0])), torch.zeros(2, 2), lr=1.0)
    >>> (param.diagonal().sign() * (param.diagonal().abs() > 0.15)).tolist()
    [-1.0, 1.0]
    """
    exp_avg = exp_avg.lerp(grad, 1 - momentum)
    # bfloat16, as published: the iteration tolerates the rounding errors and is faster
    update = orthogonalize(grad.lerp(exp_avg, momentum).bfloat16())
    m, n = param.shape
    ratio = sqrt(max(1, m / n)) if scaling == "original" else 0.2 * sqrt(max(m, n))
    return (param * (1 - lr * weight_decay)).add_(update, alpha=-lr * ratio), exp_avg


@torch.no_grad()
def clip_grad_norm_(parameters: Iterable[nn.Parameter], max_norm: float) -> Float[Tensor, ""]:
    r"""Clip the global norm of the gradients to `max_norm`, in place.

    $g \leftarrow g \cdot \min(1, c / (\lVert g \rVert + 10^{-6}))$ with $\lVert g \rVert$ over all gradients
    as one vector, so the direction of the gradient is preserved. Equal to `torch.nn.utils.clip_grad_norm_`.

    Args:
        parameters: Parameters whose gradients are clipped; those without a gradient are skipped.
        max_norm: Largest norm $c$ allowed.

    Returns:
        The global norm before clipping, 0 without gradients; not finite if a gradient is not finite.

    >>> a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    >>> a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    >>> clip_grad_norm_([a, b], 2.5).item(), a.grad.item(), b.grad.item()
    (5.0, 1.5, 2.0)
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.tensor(0.0)
    norm = gathered(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads])))
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for grad in grads:
        local_part(grad).mul_(factor)
    return norm
