"""Tensors that a module owns and trains."""

from torch.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a module lists among its parameters; it shares its memory with `data`."""

    def __new__(cls, data=None, requires_grad=True):
        data = Tensor() if data is None else data
        out = object.__new__(cls)
        out._array, out.dtype = data._array, data.dtype
        out.requires_grad = requires_grad
        return out

    def __deepcopy__(self, memo):
        if id(self) not in memo:  # without its gradient
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self, *, tensor_contents=None):
        return "Parameter containing:\n" + super().__repr__()
