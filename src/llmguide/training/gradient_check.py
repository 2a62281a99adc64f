"""Compare the gradients of a function with finite differences.

Central differences approximate a derivative from values of the function alone:

    df/dx ~ (f(x + h) - f(x - h)) / 2h

In float64 with h = 1e-6, rounding and truncation leave an error of about 1e-10 for values near 1.
The tolerances are those of `torch.autograd.gradcheck`. A result with several entries is reduced to a scalar
by fixed random weights; `gradcheck` checks each entry, unless it is asked to be fast. At a kink, such as that
of ReLU at 0, the two may differ although the code is right.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

H = 1e-6
ATOL, RTOL = 1e-5, 1e-3
MAX_ENTRIES = 100  # of each argument, evenly spaced


@dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradient`; in a cell it displays its message.

    Attributes:
        passed: Whether all derivatives agree.
        message: Result in words, with the derivative that disagrees most.
    """

    passed: bool
    message: str

    def __repr__(self) -> str:
        return self.message


def check_gradient(function: Callable[..., Any], *arguments: Any, **options: Any) -> GradientCheck:
    """Compare the gradients of a function with central differences.

    Args:
        function: Function of tensors that returns a tensor, or several. Called in float64.
        arguments: Arguments of the function. The gradient is checked for its floating-point tensors.
        options: Keyword arguments of the function, treated like the arguments.

    Returns:
        Whether they agree, and where they differ most. Of an argument with more than 100 entries, about 100
        evenly spaced ones are checked.

    Raises:
        ValueError: No argument is a floating-point tensor, no result has a gradient, or two calls with the
            same arguments differ.

    >>> check_gradient(lambda x: x**3, torch.tensor([1.0, 2.0]))
    The gradient of <lambda> agrees with finite differences.
    >>> check_gradient(lambda x: 2 * x.detach() * x, torch.tensor([3.0]))
    The gradient of <lambda> is wrong. At x[0] it is 6, but finite differences give 12.
    """
    name = getattr(function, "__name__", type(function).__name__)
    call = inspect.signature(function).bind(*arguments, **options)
    inputs = {
        key: value.detach().double().requires_grad_()
        for key, value in call.arguments.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    if not inputs:
        raise ValueError(
            f"no argument of {name} is a floating-point tensor, so there is no gradient to check"
        )

    def entries(**changed: Tensor) -> Tensor:
        call.arguments.update({**inputs, **changed})
        try:
            return _entries(function(*call.args, **call.kwargs), name)
        except RuntimeError as error:
            error.add_note(
                f"The check calls {name} in float64. Pass it the tensors that it reads as arguments."
            )
            raise

    values = entries()
    if not values.requires_grad:
        raise ValueError(f"no result of {name} has a gradient")
    if values.tolist() != entries().tolist():
        raise ValueError(f"{name} gives other results for the same arguments; set a seed inside the function")
    is_scalar = len(values) == 1
    generator = torch.Generator().manual_seed(0)
    weights = torch.ones(1) if is_scalar else torch.rand(len(values), generator=generator)

    def scalar(key: str, x: Tensor) -> Tensor:
        return (weights * entries(**{key: x})).sum()

    gradients = torch.autograd.grad((weights * values).sum(), list(inputs.values()), allow_unused=True)
    worst = (-float("inf"), "", 0.0, 0.0)  # excess over the tolerance, place, gradient, difference
    for (key, x), gradient in zip(inputs.items(), gradients, strict=True):
        flat = torch.zeros(x.numel()) if gradient is None else gradient.flatten()
        for i, difference in _central_differences(partial(scalar, key), x.detach()):
            excess = abs(flat[i].item() - difference) - ATOL - RTOL * abs(difference)
            if not excess <= worst[0]:  # nan is worst of all
                worst = (excess, f"{key}{_index(i, x.shape)}", flat[i].item(), difference)
    excess, place, ours, difference = worst
    if excess <= 0:
        return GradientCheck(True, f"The gradient of {name} agrees with finite differences.")
    checked = name if is_scalar else f"a weighted sum of the results of {name}"
    message = f"The gradient of {checked} is wrong. At {place} it is {ours:.5g}, but finite differences give "
    return GradientCheck(False, f"{message}{difference:.5g}.")


def _central_differences(function: Callable[[Tensor], Tensor], x: Tensor) -> Iterator[tuple[int, float]]:
    """Yield the derivative of a scalar function with respect to entries of x, each with its flat index."""
    for i in range(0, x.numel(), -(-x.numel() // MAX_ENTRIES) or 1):
        step = torch.zeros(x.numel(), dtype=x.dtype)
        step[i] = H
        step = step.view(x.shape)
        yield i, (function(x + step).item() - function(x - step).item()) / (2 * H)


def _entries(outputs: Any, name: str) -> Tensor:
    """Return all floating-point entries of the results of a function in a row."""
    tensors = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    tensors = [output for output in tensors if isinstance(output, Tensor) and output.is_floating_point()]
    if not tensors:
        raise ValueError(f"no result of {name} has a gradient")
    if any(output.dtype != torch.float64 for output in tensors):
        raise ValueError(f"{name} rounds to {tensors[0].dtype}, too coarsely for finite differences")
    return torch.cat([output.flatten() for output in tensors])


def _index(i: int, shape: torch.Size) -> str:
    """Return the index of a flat position, such as "[1, 2]", or nothing for a scalar."""
    places: list[int] = []
    for size in reversed(shape):
        i, place = divmod(i, size)
        places.insert(0, place)
    return str(places) if places else ""
