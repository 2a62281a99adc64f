"""Adam and AdamW (Kingma & Ba 2014, Loshchilov & Hutter 2017)."""

import numpy as np

import torch
from torch.optim.optimizer import SPEED, Optimizer, check, refuse, written

_SMALL = 2**20  # numbers: below, the time goes by between the operations, and few are better than many


class Adam(Optimizer):
    """Divides a running mean of the gradient by the root of one of its square."""

    _decoupled = False

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        maximize=False,
        **speed,
    ):
        refuse(
            amsgrad=amsgrad, capturable=speed.get("capturable"), differentiable=speed.get("differentiable")
        )
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            **SPEED,
            **speed,
            "decoupled_weight_decay": speed.pop("decoupled_weight_decay", self._decoupled),
        }
        check(defaults)
        super().__init__(params, defaults)

    def _update(self, params, group):
        for param in params:
            if not self.state[param]:
                self.state[param] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(param),
                    "exp_avg_sq": torch.zeros_like(param),
                }
        states = [self.state[param] for param in params]
        update(
            params,
            [param.grad for param in params],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["step"] for state in states],
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
            decoupled=group["decoupled_weight_decay"],
        )


class AdamW(Adam):
    """Adam that shrinks the weights by themselves, not through the gradient."""

    _decoupled = True

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=1e-2,
        amsgrad=False,
        *,
        maximize=False,
        **speed,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, **speed)


def update(params, grads, exp_avgs, exp_avg_sqs, state_steps, *, lr, maximize, **options):
    """One step of every parameter, in place."""
    by_kind = {}  # parameters of one type that have taken equally many steps
    for row in zip(params, grads, exp_avgs, exp_avg_sqs, state_steps, strict=True):
        step = row[4]._array
        step += 1
        by_kind.setdefault((row[0].dtype, step.item()), []).append([t._array for t in row[:4]])
    for (_, step), rows in by_kind.items():
        for p, g, m, v in _packed(list(zip(*rows, strict=True))):
            _step(p, -g if maximize else g, m, v, step=step, lr=float(lr), **options)
    written(*params, *exp_avgs, *exp_avg_sqs, *state_steps)


def _packed(columns):
    """Yield the arrays row by row; or, if they are small, all as one, to be copied back afterwards."""
    if sum(p.size for p in columns[0]) > _SMALL:
        yield from zip(*columns, strict=True)
        return
    packed = [np.concatenate([array.reshape(-1) for array in column]) for column in columns]
    yield packed
    for column, whole in zip(columns, packed, strict=True):
        end = 0
        for array in column:
            start, end = end, end + array.size
            array[...] = whole[start:end].reshape(array.shape)


def _step(p, g, m, v, *, step, lr, betas, eps, weight_decay, decoupled):
    """Adam on arrays, rounded as by torch's loop over single tensors."""
    beta_1, beta_2 = betas
    if weight_decay and decoupled:
        p *= 1 - lr * weight_decay
    elif weight_decay:
        g = g + p * weight_decay
    change = g - m
    change *= 1 - beta_1
    m += change
    np.multiply(g, g, out=change)
    change *= 1 - beta_2
    v *= beta_2
    v += change
    np.sqrt(v, out=change)
    change /= (1 - beta_2**step) ** 0.5
    change += eps
    np.divide(m, change, out=change)
    change *= lr / (1 - beta_1**step)
    p -= change


def adamw(
    params,
    grads,
    exp_avgs,
    exp_avg_sqs,
    max_exp_avg_sqs,
    state_steps,
    foreach=None,
    capturable=False,
    differentiable=False,
    fused=None,
    grad_scale=None,
    found_inf=None,
    has_complex=False,
    *,
    amsgrad,
    beta1,
    beta2,
    lr,
    weight_decay,
    eps,
    maximize,
):
    """One step of AdamW on a list of tensors, whose states and steps the caller keeps."""
    refuse(amsgrad=amsgrad, capturable=capturable, differentiable=differentiable, grad_scale=grad_scale)
    update(
        params,
        grads,
        exp_avgs,
        exp_avg_sqs,
        state_steps,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        maximize=maximize,
        decoupled=True,
    )
