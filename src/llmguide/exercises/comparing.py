"""Compare what a function returned with what was expected, and describe the difference."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

_UNKNOWN = "Wrong, but not in a way that this test can name."
_SMALL = 24  # most numbers of a tensor that is shown whole
_LONG = 40  # most entries of a dict that is shown whole
_LONG_TEXT = 400  # most characters of a value that is shown whole
_WHOLE = (torch.bool, torch.uint8, torch.int32, torch.int64)
_EXACT = 2**53  # smaller ints are floats without rounding


def same(result: Any, expected: Any, tolerance: float = 1e-4) -> bool:
    """Return whether two results agree: numbers up to rounding, everything else exactly.

    Args:
        result: Result to compare.
        expected: Expected result.
        tolerance: Relative tolerance of floats. The absolute one is a hundredth of it.

    >>> same([1.0, (2,)], [1.0000001, (2,)]), same(torch.ones(2), torch.ones(1, 2)), same(None, 1.0)
    (True, False, False)
    """
    if isinstance(expected, list | tuple):
        return (
            isinstance(result, list | tuple)
            and len(result) == len(expected)
            and all(same(*pair, tolerance) for pair in zip(result, expected, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(result, dict)
            and result.keys() == expected.keys()
            and all(same(result[key], expected[key], tolerance) for key in expected)
        )
    if isinstance(expected, Tensor):
        return _close(result, expected, tolerance)
    if isinstance(expected, float):
        try:
            return math.isclose(float(result), expected, rel_tol=tolerance, abs_tol=tolerance / 100)
        except (TypeError, ValueError, RuntimeError):
            return False
    return type(result) is type(expected) and bool(result == expected)


def _close(result: Any, expected: Tensor, tolerance: float) -> bool:
    try:
        result = torch.as_tensor(result).detach().double()
    except (TypeError, ValueError, RuntimeError):
        return False
    return result.shape == expected.shape and torch.allclose(
        result, expected.detach().double(), rtol=tolerance, atol=tolerance / 100, equal_nan=True
    )


def wrong_type(got: Any, wanted: Any) -> tuple[str, str] | None:
    """Return the names of the first wrong type in a result and of the right one, if all values are right.

    >>> wrong_type(([1], [1]), ([1], [True])), wrong_type(3, 2), wrong_type(2, 2)
    (('int', 'bool'), None, None)
    >>> wrong_type({"w": torch.zeros(2)}, {"w": torch.ones(2)})
    """
    if _plain(got) != _plain(wanted):
        return None
    if isinstance(got, list | tuple) and isinstance(wanted, list | tuple):
        return next(filter(None, map(wrong_type, got, wanted)), None)
    names = type(got).__name__, type(wanted).__name__
    return None if same(got, wanted) else names


def _plain(value: Any) -> Any:
    """Return the values of a result in lists: the numbers of a tensor, and a float for every int and bool."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [*map(_plain, value)]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return float(value) if isinstance(value, int) and abs(value) < _EXACT else value


def without_note(result: Any) -> Any:
    """Return an observed result without its note on how it was computed, if that is empty.

    >>> without_note((None, "")), without_note((1, "slow")), without_note(2)
    (None, (1, 'slow'), 2)
    """
    return result[0] if isinstance(result, tuple) and result[1:] == ("",) else result


def difference(inputs: str, got: Any, wanted: Any) -> str:
    """Describe a wrong result for given inputs; of a result and a note on how it was computed, the result."""
    match got, wanted:
        case (value, str()), (expected, str()) if not same(value, expected):
            return difference(inputs, value, expected)
        case (_, str(note)), (_, "") if note:
            return f"The value is right, but not how it was computed: {note}\nfor {inputs}"
    if isinstance(wanted, Tensor) and isinstance(got, Tensor):
        if got.shape != wanted.shape:
            shapes = f"{tuple(got.shape)}, expected {tuple(wanted.shape)}"
            return f"The result has shape {shapes},\nfor {inputs}"
        if wanted.numel() > _SMALL:
            wrong = [at for at in product(*map(range, wanted.shape)) if not same(got[at], wanted[at])]
            numbers = f"got {shown((got[wrong[0]],))}, expected {shown((wanted[wrong[0]],))}"
            place = f"{len(wrong)} of {wanted.numel()} numbers are wrong. At {list(wrong[0])}: {numbers}"
            return f"{_UNKNOWN}\n{place},\nfor {inputs}"
    if isinstance(wanted, dict) and isinstance(got, dict) and got.keys() == wanted.keys():
        key = next(key for key in wanted if not same(got[key], wanted[key]))
        if isinstance(wanted[key], Tensor):
            numbers = f"got {shown((got[key],))},\nexpected {shown((wanted[key],))}"
            return f"{_UNKNOWN}\nThe entry {key!r} is the first wrong one: {numbers}\nfor {inputs}"
    kind = ""
    if type(got) is not type(wanted) and not isinstance(got, int | float | None):
        kind = f" of type {type(got).__name__}, not {type(wanted).__name__}"
    return f"{_UNKNOWN}\nGot {shown((got,))}{kind}\nexpected {shown((wanted,))}\nfor {inputs}"


def named(names: Sequence[str], arguments: tuple[Any, ...]) -> str:
    """Format the arguments of a call for reading, with their names.

    >>> named(["logits", "t"], (torch.tensor([0.5, 2.0]), 3))
    'logits = [0.5, 2.0], t = 3'
    """
    return ", ".join(f"{name} = {shown((value,))}" for name, value in zip(names, arguments, strict=False))


def shown(arguments: tuple[Any, ...]) -> str:
    """Format arguments for reading: small tensors whole, large ones by their shape.

    >>> shown((torch.tensor([0.5, 2.0]), torch.zeros(9, 9), 3))
    '[0.5, 2.0], tensor of shape (9, 9), 3'
    """

    def one(value: Any) -> str:
        if isinstance(value, Tensor):
            if value.numel() > _SMALL:
                return f"tensor of shape {tuple(value.shape)}"
            rounded = value if value.dtype in _WHOLE else torch.round(value.double(), decimals=4)
            return str(rounded.tolist())
        if isinstance(value, dict) and len(value) > _LONG:
            return f"dict of {len(value)} entries"
        if isinstance(value, dict) and not all(
            isinstance(part, int | float | str) for part in value.values()
        ):
            return f"{{{', '.join(value)}}}"
        if isinstance(value, list) and any(isinstance(part, Tensor | list | dict) for part in value):
            return f"[{', '.join([*map(one, value[:3]), *['...'] * (len(value) > 3)])}]"
        text = getattr(value, "__name__", None) or repr(value)
        return text if len(text) <= _LONG_TEXT else f"{text[:_LONG_TEXT]}..."

    return ", ".join(map(one, arguments))
