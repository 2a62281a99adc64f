"""The gradient check agrees with torch's own, says what is wrong, and does the same in the reader's tab."""

import pytest
import torch
from tests.runtime.subset import describe_all, run_in_subset

from llmguide.exercises import exercise
from llmguide.nn.attention import attention
from llmguide.nn.norms import rms_norm
from llmguide.training.gradient_check import MAX_ENTRIES, check_gradient


class Backward(torch.autograd.Function):
    """The network of the exercise, with a backward pass of choice."""

    @staticmethod
    def forward(ctx, x, w1, w2, backward):
        ctx.save_for_backward(x, w1, w2)
        ctx.backward_pass = backward
        return (x @ w1.T).relu() @ w2.T

    @staticmethod
    def backward(ctx, grad):
        return *ctx.backward_pass(*ctx.saved_tensors, grad), None


asked = exercise("backpropagation")
BY_HAND = [asked.solution, *(mistake.mutant for mistake in asked.mistakes)]


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def agrees_with_gradcheck(function, *inputs):
    wanted = torch.autograd.gradcheck(
        function, [x.double().requires_grad_() for x in inputs], raise_exception=False
    )
    return check_gradient(function, *inputs).passed == wanted


@pytest.mark.parametrize("backward", BY_HAND)
def test_backpropagation_by_hand_passes_and_each_mistake_is_found(backward):
    def network(x, w1, w2):
        return Backward.apply(x, w1, w2, backward)

    inputs = asked.probes()[0][:3]
    assert agrees_with_gradcheck(network, *inputs)
    assert check_gradient(network, *inputs).passed == (backward is asked.solution)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda q, k, v: attention(q, k, v)[0], (noise(4, 3), noise(5, 3), noise(5, 2))),
        (lambda x, w: rms_norm(x, w, 1e-6), (noise(3, 4), noise(4))),
        (lambda x: x.detach() * x, (noise(3),)),
        (lambda x: x.abs().sqrt().sum(), (noise(2, 3),)),
        (lambda x: (x[0] * 0, x.log_softmax(-1)), (noise(2, 3),)),
        (lambda x: 1e6 * x**2, (noise(5),)),
    ],
)
def test_the_result_is_that_of_gradcheck(function, inputs):
    assert agrees_with_gradcheck(function, *inputs)


def test_the_derivative_that_is_wrong_is_named():
    def square(x, *, factor):
        return x.detach() * x * factor  # the gradient of one x is lost

    found = check_gradient(square, torch.tensor(3.0), factor=torch.tensor(1.0))
    assert str(found) == "The gradient of square is wrong. At x it is 3, but finite differences give 6."
    found = check_gradient(square, torch.tensor([3.0, 2.0]), factor=torch.tensor(1.0))
    assert str(found).startswith("The gradient of a weighted sum of the results of square is wrong. At x[")


def test_of_large_arguments_some_entries_are_checked():
    calls = []

    def cubed(x):
        calls.append(x)
        return x**3

    assert check_gradient(cubed, noise(20, 30)).passed
    assert len(calls) == 2 + 2 * MAX_ENTRIES


def test_what_cannot_be_checked_is_told_apart():
    weight = noise(3, 3)
    for function, x, why in (
        (lambda x: x.exp(), torch.tensor([1]), "no argument of <lambda> is a floating-point tensor"),
        (lambda x: x.argmax(), noise(3), "no result of <lambda> has a gradient"),
        (lambda x: x.detach(), noise(3), "no result of <lambda> has a gradient"),
        (lambda x: x.float(), noise(3), "rounds to torch.float32"),
        (lambda x: x * torch.rand(3), noise(3), "gives other results for the same arguments"),
    ):
        with pytest.raises(ValueError, match=why):
            check_gradient(function, x)
    with pytest.raises(RuntimeError) as raised:
        check_gradient(lambda x: x @ weight, noise(2, 3))
    assert "float64" in raised.value.__notes__[0]


PREAMBLE = """
from llmguide.training.gradient_check import check_gradient
class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3
    @staticmethod
    def backward(ctx, grad):
        return grad * FACTOR * ctx.saved_tensors[0] ** 2
def cube(x):
    return Cube.apply(x)
"""
SNIPPETS = [
    PREAMBLE.replace("FACTOR", "3") + "repr(check_gradient(cube, T([[1.0, 2.0], [0.5, -1.0]])))",
    PREAMBLE.replace("FACTOR", "2") + "repr(check_gradient(cube, T([2.0])))",
    PREAMBLE + "repr(check_gradient(torch.nn.functional.silu, T([2.0])))",
    PREAMBLE + "w = torch.ones(2, 2); repr(check_gradient(lambda x: x @ w, T([[2.0, 1.0]])))",
    "from llmguide.exercises import exercise; it = exercise('backpropagation')"
    "; it.demo({'backward': it.solution})",
]


def test_the_subset_of_the_tab_gives_the_same():
    found = run_in_subset(SNIPPETS)
    assert found == describe_all(SNIPPETS)
    assert "agrees" in str(found[0])
    assert "At x[0] it is 8, but finite differences give 12" in str(found[1])
