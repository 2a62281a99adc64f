"""Tensors that a module owns and trains."""

from __future__ import annotations

from typing import Any, Self

from torch.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a module lists among its parameters; it shares its memory with `data`."""

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Self:
        data = Tensor() if data is None else data
        out = object.__new__(cls)
        out._array, out.dtype = data._array, data.dtype
        out.requires_grad = requires_grad
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if id(self) not in memo:  # without its gradient
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
