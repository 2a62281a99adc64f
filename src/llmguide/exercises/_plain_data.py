"""Tensors and arrays as plain data, which passes between the processes of a sandbox."""

from typing import Any

import torch
from torch import Tensor


def pack(value: Any) -> Any:
    """Replace tensors and arrays in a value by plain data, and subclasses of plain types by these.

    >>> pack([torch.tensor([1.0, 2.0])])
    [{'tensor': ('float32', (2,), [1.0, 2.0])}]
    """
    if hasattr(type(value), "__array__"):
        tensor = torch.as_tensor(value).detach()
        dtype = str(tensor.dtype).removeprefix("torch.")
        return {"tensor": (dtype, (*tensor.shape,), tensor.flatten().tolist())}
    if isinstance(value, dict):
        return {pack(key): pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return (list if isinstance(value, list) else tuple)(map(pack, value))
    return value


def unpack(value: Any) -> Any:
    """Restore what `pack` replaced.

    >>> unpack(pack((torch.eye(2), {"a": [1]})))
    (tensor([[1., 0.],
            [0., 1.]]), {'a': [1]})
    """
    match value:
        case {"tensor": (str(dtype), tuple(shape), list(numbers))}:
            found: Tensor = torch.tensor(numbers, dtype=getattr(torch, dtype)).reshape(shape)
            return found
    if isinstance(value, dict):
        return {key: unpack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(unpack, value))
    return value
