"""Check the tensors that a caller passes, with errors that name the value and the fix.

`checked` reads the axes and data types of a function from its jaxtyping annotations, so that the body shows
the formula only. An axis of one name has one size over all arguments: tensors that torch would broadcast to a
wrong result are refused. `check_tensor` and `check_ids` are for places where a call costs microseconds.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, TypeVar, get_args

import torch
from jaxtyping import AbstractArray, Bool, Float, Int, jaxtyped
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])

CONVERSIONS: dict[Any, str] = {Float: "float", Int: "long", Bool: "bool"}


def checked(function: F) -> F:
    """Decorate a function to check its tensors against their annotations at each call.

    Raises:
        TypeError: An argument is not a tensor.
        ValueError: A tensor has another data type, or an axis another size than in the tensors before it.

    >>> @checked
    ... def difference(left: Float[Tensor, "B T"], right: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    ...     return left - right
    """
    parameters = signature(function)
    hints = {name: each.annotation for name, each in parameters.parameters.items() if _array(each.annotation)}

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            values = parameters.bind(*args, **kwargs).arguments
        except TypeError:  # a missing or unknown argument, which Python names better
            return function(*args, **kwargs)
        with jaxtyped("context"):
            for name, hint in hints.items():
                if name in values and not isinstance(values[name], hint):
                    raise _error(name, values, hints)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]  # same signature


def has_readable_values(tensor: Tensor) -> bool:
    """Return whether a check may read the values of a tensor: a GPU would have to finish all its work first.

    >>> has_readable_values(torch.zeros(2))
    True
    """
    return tensor.device.type == "cpu"


def check_tensor(name: str, value: object) -> None:
    """Raise TypeError unless a value is a tensor.

    >>> check_tensor("ids", "some text")
    Traceback (most recent call last):
    TypeError: ids='some text' must be a tensor: torch.tensor(tokenizer.encode(text)) gives token ids
    """
    if isinstance(value, Tensor):
        return
    if isinstance(value, str):
        shown = value if len(value) < 40 else value[:37] + "..."
        problem = f"{name}={shown!r} must be a tensor: torch.tensor(tokenizer.encode(text)) gives token ids"
    elif hasattr(value, "logits"):
        problem = f"{name} is a {type(value).__name__} of transformers, not a tensor; pass its .logits"
    elif value is None:
        problem = f"{name} is None; pass a tensor"
    else:
        problem = f"{name} is a {type(value).__name__}; torch.tensor({name}) makes it a tensor"
    raise TypeError(problem)


def check_type(name: str, value: object, kind: Any, fix: str) -> None:
    """Raise TypeError unless a value has a type; the message ends with the fix.

    >>> check_type("config", "gpt2", dict, "pass a dict")
    Traceback (most recent call last):
    TypeError: config is a str; pass a dict
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} is a {type(value).__name__}; {fix}")


def check_ids(ids: object, axes: str = "B, T") -> None:
    """Raise an error unless ids are a tensor of integers with the given axes.

    Raises:
        TypeError: The ids are not a tensor.
        ValueError: The ids are not integers, or have other axes.
    """
    check_tensor("ids", ids)
    assert isinstance(ids, Tensor)
    if ids.ndim != (2 if "B" in axes else 1) or ids.dtype not in (torch.long, torch.int):
        fix = "ids[None] makes a row a batch" if "B" in axes else "ids[0] takes the first text of a batch"
        raise ValueError(
            f"ids {tuple(ids.shape)} of {ids.dtype} must be ({axes}), int64 or int32: {fix}, and .long() "
            "converts"
        )


def _array(annotation: Any) -> type[AbstractArray] | None:
    """Return the array type in an annotation, which may be optional."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "dim_str")]
    return kinds[0] if kinds else None


def _error(name: str, values: dict[str, Any], hints: dict[str, Any]) -> Exception:
    try:
        check_tensor(name, values[name])
    except TypeError as error:
        return error
    before = list(hints)[: list(hints).index(name)]
    like = ", ".join(
        f"{other} {_axes(hints[other])} is {tuple(values[other].shape)}"
        for other in before
        if isinstance(values.get(other), Tensor)
    )
    value, kind = values[name], _array(hints[name])
    assert kind is not None
    fits = str(value.dtype).removeprefix("torch.") in kind.dtypes
    return ValueError(
        f"{name} {tuple(value.shape)} of {value.dtype} must be {kind.dtype.__name__} {_axes(hints[name])}"
        + (f", where {like}" if like else "")
        + ("" if fits else f"; {name}.{CONVERSIONS[kind.dtype]}() converts")
    )


def _axes(annotation: Any) -> str:
    kind = _array(annotation)
    assert kind is not None
    axes = kind.dim_str.split()
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
