"""Adam and AdamW (Kingma & Ba 2014, Loshchilov & Hutter 2017)."""

import numpy as np

import torch
from torch import kernels
from torch.kernels import FLOAT32
from torch.optim.optimizer import SPEED, Optimizer, check, refuse, written

kernel = kernels.find("adam_step")

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
        states = [self.state[param] for param in params]
        for param, state in zip(params, states, strict=True):
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
        update(
            params,
            [param._grad for param in params],
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
    for p, g, m, v, step in zip(params, grads, exp_avgs, exp_avg_sqs, state_steps, strict=True):
        step._array += 1
        row = p._array, g._array, m._array, v._array
        by_kind.setdefault((p.dtype, step._array.item()), []).append(row)
    for (_, step), rows in by_kind.items():
        _step(rows, step, lr=float(lr), maximize=maximize, **options)
    written(*params, *exp_avgs, *exp_avg_sqs, *state_steps)


def _step(rows, step, *, lr, betas, eps, weight_decay, maximize, decoupled):
    """Adam on arrays of parameters, gradients and moments, by the kernel or by numpy."""
    beta_1, beta_2 = betas
    keep = 1 - lr * weight_decay if decoupled else 1
    decay = 0 if decoupled else weight_decay
    root = (1 - beta_2**step) ** 0.5
    rate = lr / (1 - beta_1**step)
    numbers = keep, 1 - beta_1, beta_2, 1 - beta_2, root, eps, rate
    if kernel and rows[0][0].dtype is FLOAT32 and not decay and not maximize:
        rows = [(p, g, m, v) for p, g, m, v in rows if not kernel(id(p), id(g), id(m), id(v), *numbers)]
    for p, g, m, v in _packed(rows):
        if maximize:
            g = -g
        _step_by_numpy(p, g + decay * p if decay else g, m, v, *numbers)


def _packed(rows):
    """Yield the arrays row by row; or, if they are small, all as one, to be copied back afterwards."""
    if len(rows) < 2 or sum(row[0].size for row in rows) > _SMALL:
        yield from rows
        return
    columns = list(zip(*rows, strict=True))
    packed = [np.concatenate([array.reshape(-1) for array in column]) for column in columns]
    yield packed
    del columns[1], packed[1]  # the gradients, which are not written to
    for column, whole in zip(columns, packed, strict=True):
        end = 0
        for array in column:
            start, end = end, end + array.size
            array[...] = whole[start:end].reshape(array.shape)


def _step_by_numpy(p, g, m, v, keep, weight_1, beta_2, weight_2, root, eps, rate):
    """Adam on arrays, rounded as by torch's loop over single tensors."""
    p *= keep
    change = g - m
    change *= weight_1
    m += change
    np.multiply(g, g, out=change)
    change *= weight_2
    v *= beta_2
    v += change
    np.sqrt(v, out=change)
    change /= root
    change += eps
    np.divide(m, change, out=change)
    change *= rate
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
