"""L-BFGS: Newton's direction from the last few steps (Liu & Nocedal 1989)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from torch.autograd.modes import enable_grad, no_grad
from torch.optim.line_search import Point, strong_wolfe
from torch.optim.optimizer import Optimizer, check, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch.tensor import Tensor
    from torch.types import Array


class LBFGS(Optimizer):
    """Minimizes a loss that is the same at each evaluation; one `step` takes many iterations."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        check(defaults)
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params: list[Tensor] = self.param_groups[0]["params"]

    @no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # it cannot do without
        """Take up to `max_iter` iterations.

        Args:
            closure: Computes the loss and its gradients anew.

        Returns:
            The loss before.
        """
        group, state = self.param_groups[0], self.state[self._params[0]]
        lr, tolerance = float(group["lr"]), group["tolerance_change"]

        def evaluate() -> tuple[Any, Array]:
            with enable_grad():
                loss = closure()
            return loss, self._flat_grad()

        first_loss, grad = evaluate()
        loss, n_evaluations = float(first_loss), 1
        state.setdefault("n_iter", 0)
        state.setdefault("history", [])  # (change of the gradient, change of the parameters)
        for i in range(group["max_iter"]):
            if np.abs(grad).max() <= group["tolerance_grad"] or n_evaluations >= group["max_eval"]:
                break
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                direction, t = -grad, min(1.0, 1.0 / float(np.abs(grad).sum())) * lr
            else:
                self._remember(grad - state["grad"], state["change"], group["history_size"])
                direction, t = self._newton_direction(grad), lr
            state["grad"], previous = grad, loss
            slope = float(grad @ direction)
            if slope > -tolerance:
                break
            here = [param._array.copy() for param in self._params]

            def at(t: float, here: list[Array] = here, direction: Array = direction) -> Point:
                self._move(here, t * direction)
                loss, grad = evaluate()
                return Point(t, float(loss), grad, float(grad @ direction))

            if group["line_search_fn"]:
                start, most = Point(0.0, loss, grad, slope), group["max_eval"] - n_evaluations
                reach = float(np.abs(direction).max())
                found, n = strong_wolfe(at, start, t, reach=reach, tolerance=tolerance, most=most)
                t, loss, grad = found[:3]
                self._move(here, t * direction)
            elif i < group["max_iter"] - 1:
                found, n = at(t), 1
                loss, grad = found.loss, found.grad
            else:
                self._move(here, t * direction)
                n = 0
            n_evaluations += n
            state["change"] = t * direction
            if np.abs(state["change"]).max() <= tolerance or abs(loss - previous) < tolerance:
                break
        return first_loss

    def _remember(self, grad_change: Array, change: Array, size: int) -> None:
        history = self.state[self._params[0]]["history"]
        if float(grad_change @ change) > 1e-10:
            history.append((grad_change, change))
            del history[:-size]

    def _newton_direction(self, grad: Array) -> Array:
        """Minus the gradient times the inverse of the curvature that the history shows (two loops)."""
        history = self.state[self._params[0]]["history"]
        q, factors = -grad, []
        for y, s in reversed(history):
            factors.append(float(s @ q) / float(y @ s))
            q = q - factors[-1] * y
        if history:
            y, s = history[-1]
            q = q * (float(y @ s) / float(y @ y))
        for (y, s), factor in zip(history, reversed(factors), strict=True):
            q = q + (factor - float(y @ q) / float(y @ s)) * s
        return q

    def _flat_grad(self) -> Array:
        grads = [
            np.zeros(param.numel(), param._array.dtype)
            if param.grad is None
            else param.grad._array.reshape(-1)
            for param in self._params
        ]
        return np.concatenate(grads)

    def _move(self, start: Sequence[Array], change: Array) -> None:
        """Set the parameters to where they were plus a change."""
        position = 0
        for param, array in zip(self._params, start, strict=True):
            part = change[position : position + array.size].reshape(array.shape)
            param._array[...] = array + part
            written(param)
            position += array.size
