"""The decorator that checks annotations in tests finds what the one of jaxtyping would."""

import dataclasses

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float
from torch import Tensor

from tests.typecheck import N_CHECKED, jaxtyped

typed = jaxtyped(typechecker=None)
FIVE, SIX = torch.zeros(5), torch.zeros(6)


@typed
def longer(x: Float[Tensor, " n"], y: Float[Tensor, " n"], n: int = 0) -> Float[Tensor, " n"]:
    return torch.cat([x, y[:n]])


@typed
def outer(x: Float[Tensor, " n"]) -> tuple[int, ...]:
    return inner(x[1:]), len(x)


@typed
def inner(x: Float[Tensor, " n"]) -> int:
    return len(x)


@typed
@dataclasses.dataclass
class Sized:
    text: str
    weight: float = 0.0


def added(n):
    @typed
    def add(x: int) -> int:
        return x + n

    return add


def test_axes_are_shared_by_arguments_and_result():
    assert torch.equal(longer(FIVE, FIVE), FIVE)
    for wrong in (
        lambda: longer(FIVE, SIX),
        lambda: longer(FIVE, FIVE, 1),
        lambda: longer(FIVE, y=FIVE[None]),
    ):
        with pytest.raises(BeartypeCallHintViolation):
            wrong()


def test_each_call_has_axes_of_its_own():
    assert outer(FIVE) == (4, 5)
    with pytest.raises(BeartypeCallHintViolation):
        outer(FIVE.int())
    assert outer(SIX) == (5, 6)


def test_fields_of_a_dataclass_are_checked_and_an_int_is_a_float():
    assert Sized("a", 1).weight == 1
    with pytest.raises(BeartypeCallHintViolation):
        Sized(1)


def test_functions_that_are_defined_again_are_checked_each_time():
    assert [added(n)(1) for n in range(3)] == [1, 2, 3]
    for n in range(3):
        with pytest.raises(BeartypeCallHintViolation):
            added(n)("1")


@pytest.mark.parametrize("test", [1, 2])
def test_the_first_calls_are_checked_in_each_test(test):
    for _ in range(N_CHECKED - 1):
        longer(FIVE, FIVE)
    with pytest.raises(BeartypeCallHintViolation):
        longer(FIVE, FIVE, 1)
    assert len(longer(FIVE, FIVE, 1)) == 6


def test_the_package_is_checked():
    from llmguide.nn.norms import RMSNorm  # noqa: PLC0415  # after the import hook

    with pytest.raises(BeartypeCallHintViolation):
        RMSNorm("wide")
