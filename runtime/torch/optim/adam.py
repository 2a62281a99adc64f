"""Adam and AdamW (Kingma & Ba 2014, Loshchilov & Hutter 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import torch
from torch import kernels
from torch.kernels import FLOAT32
from torch.optim.optimizer import SPEED, Optimizer, check, refuse, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch.tensor import Tensor
    from torch.types import Array, DType

    Row: TypeAlias = tuple[Array, Array, Array, Array]  # a parameter, its gradient, its two moments

kernel = kernels.find("adam_step")

_SMALL = 2**20  # numbers: below, the time goes by between the operations, and few are better than many


class Adam(Optimizer):
    """Divides a running mean of the gradient by the root of one of its square."""

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **speed: Any,
    ) -> None:
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

    def _update(self, params: Sequence[Tensor], grads: Sequence[Tensor], group: dict[str, Any]) -> None:
        states = [self.state[param] for param in params]
        for param, state in zip(params, states, strict=True):
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
        update(
            params,
            grads,
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
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **speed: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, **speed)


def update(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    state_steps: Sequence[Tensor],
    *,
    lr: float | Tensor,
    **options: Any,
) -> None:
    """One step of every parameter, in place."""
    # parameters of one type that have taken equally many steps
    by_kind: dict[tuple[DType, float], list[Row]] = {}
    for p, g, m, v, step in zip(params, grads, exp_avgs, exp_avg_sqs, state_steps, strict=True):
        step._array += 1
        row = p._array, g._array, m._array, v._array
        by_kind.setdefault((p.dtype, step._array.item()), []).append(row)
    for (_, n_steps), rows in by_kind.items():
        _step(rows, n_steps, lr=float(lr), **options)
    written(*params, *exp_avgs, *exp_avg_sqs, *state_steps)


def _step(
    rows: list[Row],
    step: float,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    maximize: bool,
    decoupled: bool,
) -> None:
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


def _packed(rows: list[Row]) -> Iterator[Sequence[Array]]:
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


def _step_by_numpy(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    keep: float,
    weight_1: float,
    beta_2: float,
    weight_2: float,
    root: float,
    eps: float,
    rate: float,
) -> None:
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
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor],
    state_steps: Sequence[Tensor],
    foreach: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
    fused: bool | None = None,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    has_complex: bool = False,
    *,
    amsgrad: bool,
    beta1: float,
    beta2: float,
    lr: float | Tensor,
    weight_decay: float,
    eps: float,
    maximize: bool,
) -> None:
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
