"""Gradient descent, with momentum if wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.optim.optimizer import SPEED, Optimizer, check

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch.tensor import Tensor


class SGD(Optimizer):
    """Moves against the gradient, or against a running sum of gradients."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **speed: Any,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            **{name: value for name, value in SPEED.items() if name != "capturable"},
            **speed,
        }
        check(defaults)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, defaults)

    def _update(self, params: Sequence[Tensor], grads: Sequence[Tensor], group: dict[str, Any]) -> None:
        for param, grad in zip(params, grads, strict=True):
            if group["maximize"]:
                grad = -grad
            if group["weight_decay"]:
                grad = grad.add(param, alpha=group["weight_decay"])
            if group["momentum"]:
                grad = self._with_momentum(grad, self.state[param], group)
            param.add_(grad, alpha=-float(group["lr"]))

    def _with_momentum(self, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        if "momentum_buffer" in state:
            state["momentum_buffer"].mul_(group["momentum"]).add_(grad, alpha=1 - group["dampening"])
        else:
            state["momentum_buffer"] = grad.detach().clone()
        buffer = state["momentum_buffer"]
        return grad.add(buffer, alpha=group["momentum"]) if group["nesterov"] else buffer
