"""Right values without their gradients are refused; wrong values are named with or without a gradient."""

import pytest
import torch
from torch.nn.functional import logsigmoid

from llmguide.exercises.comparing import same
from llmguide.exercises.differentiation import with_gradient
from llmguide.exercises.grading import exercise, exercises, grade_exercise
from llmguide.exercises.hidden_tests import with_hidden_tests
from llmguide.projects.assignments.assignment import OWN

CUT_OFF = "cut off from the gradient"
DIFFERENTIATED = [
    each
    for each in (*exercises().values(), *OWN.values())
    if CUT_OFF in [mistake.name for mistake in each.mistakes]
]


def without_gradient(function):
    return torch.no_grad()(function)


@pytest.mark.parametrize("asked", DIFFERENTIATED, ids=lambda asked: asked.name)
def test_a_right_value_without_its_gradient_is_refused(asked):
    found = grade_exercise(asked, without_gradient(asked.solution))
    assert (found.passed, found.mistake) == (False, CUT_OFF)


@pytest.mark.parametrize("asked", DIFFERENTIATED, ids=lambda asked: asked.name)
def test_a_wrong_value_is_named_even_without_its_gradient(asked):
    for mistake in asked.mistakes:
        if mistake.name == "underflow":
            continue  # its value is right in most calls, so without a gradient there are two mistakes
        assert grade_exercise(asked, without_gradient(mistake.mutant)).mistake == mistake.name


@pytest.mark.parametrize(
    "asked", [asked for asked in DIFFERENTIATED if asked.name in exercises()], ids=lambda asked: asked.name
)
def test_hidden_tests_compare_gradients(asked):
    hidden = with_hidden_tests(asked, seed=3)
    assert grade_exercise(hidden, asked.solution).passed
    assert not grade_exercise(hidden, without_gradient(asked.solution)).passed


def value_loss_of_detached_clipping(values, old_values, returns, clip):
    clipped = (old_values + (values - old_values).clamp(-clip, clip)).detach()
    return torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).mean() / 2


def surrogate_with_constant_old_policy(logp, old_logp, advantages, clip):
    ratio = (logp - old_logp.detach()).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def test_part_of_a_gradient_is_not_enough():
    assert grade_exercise(OWN["value-loss"], value_loss_of_detached_clipping).mistake == CUT_OFF


def test_the_old_policy_needs_no_gradient():
    assert grade_exercise(exercise("ppo-clip"), surrogate_with_constant_old_policy).passed


@pytest.mark.parametrize(
    "mine",
    [
        lambda chosen, rejected: -logsigmoid(chosen - rejected).mean().item(),
        lambda chosen, rejected: torch.tensor((-logsigmoid(chosen - rejected).mean()).detach().numpy()),
        lambda chosen, rejected: -logsigmoid(chosen - rejected.detach()).mean(),
    ],
    ids=["a number", "by way of numpy", "half"],
)
def test_ways_to_lose_a_gradient(mine):
    assert grade_exercise(exercise("bradley-terry"), mine).mistake == CUT_OFF


def test_the_gradient_is_that_of_the_formula():
    """d/dx of x^2 is 2x, so a function that agrees in value at 2 but not in slope is told apart."""
    observe = with_gradient(torch.square, 0)
    assert same(observe(lambda x: x * x, (torch.tensor([2.0]),)), (torch.tensor([4.0]), ""))
    assert observe(lambda x: 2 * x, (torch.tensor([2.0]),))[1]
