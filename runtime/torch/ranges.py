"""Tensors of evenly spaced numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.attributes import check_device
from torch.creation import finish
from torch.tensor import Tensor, function, make

if TYPE_CHECKING:
    from typing import Any

    from torch.types import Device, DType, Operand


def _number(value: Operand) -> Any:
    return value.item() if isinstance(value, Tensor) else value


@function
def arange(
    start: Operand,
    end: Operand | None = None,
    step: Operand = 1,
    *,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from start to before end."""
    check_device(device)
    low, high = (0, _number(start)) if end is None else (_number(start), _number(end))
    by = _number(step)
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if (high - low) * by < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = not any(isinstance(each, float) for each in (low, high, by))
    d = dtype or (dtypes.int64 if whole else dtypes.get_default_dtype())
    n = math.ceil((high - low) / by)
    if d.kind == 2 and not whole:
        array = (low + np.arange(n, dtype=np.float64) * by).astype(d.storage)
    else:
        array = (low + np.arange(n, dtype=np.int64) * by).astype(d.storage)
    return finish(array, d, requires_grad)


@function
def linspace(
    start: Operand,
    end: Operand,
    steps: int,
    *,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Evenly spaced numbers, both ends included."""
    d = dtype or dtypes.get_default_dtype()
    low, high = _number(start), _number(end)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if steps == 1:
        return finish(np.full(1, low, d.storage), d, requires_grad)
    # from both ends inwards, so that the end is exact
    kind = d.storage.type if d.kind == 2 else np.float64
    first, last = kind(low), kind(high)
    step = (last - first) / kind(max(steps - 1, 1))
    i = np.arange(steps)
    array = np.where(
        i < steps // 2, first + step * i.astype(kind), last - step * (steps - 1 - i).astype(kind)
    )
    return finish(array.astype(d.storage), d, requires_grad)


@function
def logspace(
    start: Operand, end: Operand, steps: int, base: float = 10.0, *, dtype: DType | None = None
) -> Tensor:
    """Powers of evenly spaced exponents."""
    d = dtype or dtypes.get_default_dtype()
    return make(np.power(base, np.linspace(_number(start), _number(end), steps)).astype(d.storage), d)
