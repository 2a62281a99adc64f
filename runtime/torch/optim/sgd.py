"""Gradient descent, with momentum if wanted."""

from torch.optim.optimizer import SPEED, Optimizer, check


class SGD(Optimizer):
    """Moves against the gradient, or against a running sum of gradients."""

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
        **speed,
    ):
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

    def _update(self, params, group):
        for param in params:
            grad = -param.grad if group["maximize"] else param.grad
            if group["weight_decay"]:
                grad = grad.add(param, alpha=group["weight_decay"])
            if group["momentum"]:
                grad = self._with_momentum(grad, self.state[param], group)
            param.add_(grad, alpha=-float(group["lr"]))

    def _with_momentum(self, grad, state, group):
        if "momentum_buffer" in state:
            state["momentum_buffer"].mul_(group["momentum"]).add_(grad, alpha=1 - group["dampening"])
        else:
            state["momentum_buffer"] = grad.detach().clone()
        buffer = state["momentum_buffer"]
        return grad.add(buffer, alpha=group["momentum"]) if group["nesterov"] else buffer
