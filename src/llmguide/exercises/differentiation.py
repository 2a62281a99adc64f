"""Test gradients: a right value that was computed outside the autograd graph trains nothing."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.comparing import same
from llmguide.exercises.definition import Arguments, Mistake

_CUT_OFF = "wrong gradient"


def with_gradient(
    solution: Callable[..., Any], *places: int
) -> Callable[[Callable[..., Any], Arguments], tuple[Any, str]]:
    """Make an `observe` of exercises: the result, and a note if only its gradient is wrong.

    Wrong results have no note, so that their mistakes are recognized with or without a gradient.

    Args:
        solution: Function of the package that solves the exercise.
        places: Indices of the arguments whose gradients are compared.

    Returns:
        Function that returns the result of a call and the note, empty if the gradient is right.

    >>> observe = with_gradient(torch.exp, 0)
    >>> observe(torch.exp, (torch.zeros(1),)), observe(lambda x: x.exp().detach(), (torch.zeros(1),))
    ((tensor([1.]), ''), (tensor([1.]), 'wrong gradient'))
    """

    def observe(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
        expected, wanted = solution(*arguments), _gradients(solution, arguments, places)
        result = function(*arguments)
        if not same(result, expected) or same(_gradients(function, arguments, places), wanted):
            return result, ""
        return result, _CUT_OFF

    return observe


def _gradients(
    function: Callable[..., Any], arguments: Arguments, places: tuple[int, ...]
) -> list[Tensor] | None:
    """Return the gradients of a weighted sum of the result, or None where autograd finds no way back."""
    inputs = [
        value.clone().requires_grad_() if place in places else value for place, value in enumerate(arguments)
    ]
    leaves = [inputs[place] for place in places]
    try:
        result = function(*inputs)
        # different weights, because an equal one for all elements cancels in a softmax
        weights = torch.arange(1.0, result.numel() + 1).reshape(result.shape)
        gradients = torch.autograd.grad((result * weights).sum(), leaves, allow_unused=True)
    except (AttributeError, RuntimeError):  # no tensor, no graph, or a call of numpy()
        return None
    return [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, gradients, strict=True)
    ]


def cut_off(solution: Callable[..., Tensor]) -> Mistake:
    """Make the mistake of exercises that are observed `with_gradient`: a right value without its gradient."""
    return Mistake(
        "cut off from the gradient",
        "the value is right, but part of the computation is cut off from its gradient",
        "Compute with tensor operations only: detach(), item(), float() and torch.no_grad() end the "
        "gradient.",
        lambda *arguments: solution(*arguments).detach(),
    )
