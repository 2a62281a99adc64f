"""Operators, and the methods that write into their tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import dtypes
from torch.arithmetic import add, div, floor_divide, fmod, mul, pow, remainder, rsub, sub
from torch.autograd.modes import mode
from torch.autograd.record import write
from torch.comparison import (
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    eq,
    ge,
    gt,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from torch.elementwise import addcdiv, addcmul, atan2, clamp, clamp_max, clamp_min, clip, lerp, nan_to_num
from torch.products import matmul
from torch.tensor import Tensor, alias, share
from torch.unary import (
    abs,
    acos,
    asin,
    atan,
    ceil,
    cos,
    exp,
    expm1,
    floor,
    log,
    log1p,
    log2,
    neg,
    reciprocal,
    relu,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    tanh,
    trunc,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "__add__": add, "__radd__": add, "__sub__": sub, "__rsub__": rsub, "__mul__": mul, "__rmul__": mul,
    "__truediv__": div, "__floordiv__": floor_divide, "__mod__": remainder, "__pow__": pow,
    "__matmul__": matmul, "__and__": bitwise_and, "__rand__": bitwise_and, "__or__": bitwise_or,
    "__ror__": bitwise_or, "__xor__": bitwise_xor, "__rxor__": bitwise_xor,
    "__lshift__": bitwise_left_shift, "__rshift__": bitwise_right_shift, "__eq__": eq, "__ne__": ne,
    "__lt__": lt, "__le__": le, "__gt__": gt, "__ge__": ge,
    "__rtruediv__": lambda self, other: mul(reciprocal(self), other),
    "__rfloordiv__": lambda self, other: floor_divide(other, self),
    "__rmod__": lambda self, other: remainder(other, self),
    "__rpow__": lambda self, other: pow(other, self),
}  # fmt: skip


def _of_two(name: str, operation: Callable[[Tensor, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """Let Python try the other operand's method, and then complain, if that is neither tensor nor number."""

    def operator(self: Tensor, other: Any) -> Tensor:
        try:
            return operation(self, other)
        except TypeError:
            if isinstance(other, Tensor):
                raise
            return NotImplemented

    # what a TorchFunctionMode is told
    operator.__name__ = name if operation.__name__ == "<lambda>" else operation.__name__
    return operator


for _name, _operation in _OPERATORS.items():
    setattr(Tensor, _name, _of_two(_name, _operation))
_SIGNS: dict[str, Callable[..., Tensor]]
_SIGNS = {"neg": neg, "abs": abs, "invert": bitwise_not, "pos": lambda self: self}
for _name, _operation in _SIGNS.items():
    setattr(Tensor, f"__{_name}__", _operation)


def _before(tensor: Tensor, others: Iterable[object]) -> Tensor:
    """The tensor, or a copy if the way back may need what is about to be overwritten."""
    wanted = tensor.requires_grad or any(
        isinstance(other, Tensor) and other.requires_grad for other in others
    )
    if not (mode.enabled and wanted):
        return tensor
    before = share(tensor._array.copy(), tensor.dtype)
    before._node, before._output, before._wants_grad = tensor._node, tensor._output, tensor._wants_grad
    return before


def in_place(operation: Callable[..., Tensor], name: str | None = None) -> Callable[..., Tensor]:
    """Offer the method ``name_``, which writes the result of `operation` into the tensor."""

    def method_(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        out = operation(_before(self, args), *args, **kwargs)
        if not dtypes.can_cast(out.dtype, self.dtype):
            raise RuntimeError(
                f"result type {out.dtype.title} can't be cast to the desired output type {self.dtype.title}"
            )
        if out._array.shape != self._array.shape:
            raise RuntimeError(
                f"output with shape {list(self.shape)} doesn't match the broadcast shape {list(out.shape)}"
            )
        return write(self, out)

    method_.__name__ = (name or operation.__name__) + "_"
    method_.__doc__ = f"`{name or operation.__name__}`, written into this tensor."
    setattr(Tensor, method_.__name__, method_)
    return method_


_WRITERS: tuple[Callable[..., Tensor], ...] = (
    add, sub, mul, div, floor_divide, remainder, pow, exp, expm1, sqrt, rsqrt, reciprocal, sigmoid, tanh, log,
    log2, log1p, sin, cos, square, sign, floor, ceil, trunc, relu, neg, abs, round, clamp, clip, clamp_min,
    clamp_max, lerp, addcmul, addcdiv, nan_to_num, logical_and, logical_or, logical_not, logical_xor,
    bitwise_and, bitwise_or, bitwise_xor, bitwise_not, eq, ne, lt, le, gt, ge, fmod,
)  # fmt: skip
for _operation in _WRITERS:
    in_place(_operation)
for _name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "and", "or", "xor"):
    _operation = _OPERATORS[f"__{_name}__"]
    setattr(Tensor, f"__i{_name}__", getattr(Tensor, _operation.__name__ + "_"))

_ALIASES: dict[str, Callable[..., Tensor]] = {
    "subtract": sub, "multiply": mul, "divide": div, "true_divide": div, "negative": neg, "absolute": abs,
    "arctan2": atan2, "arccos": acos, "arcsin": asin, "arctan": atan, "not_equal": ne, "less": lt,
    "less_equal": le, "greater": gt, "greater_equal": ge,
}  # fmt: skip
for _name, _operation in _ALIASES.items():
    alias(_name, _operation)
