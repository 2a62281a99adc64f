"""Filling tensors with random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record, write
from torch.generator import fused
from torch.random_tensors import bernoulli, exponentials, integers, stream_of
from torch.tensor import Tensor, method

if TYPE_CHECKING:
    from typing import Any

    from torch.generator import Generator


def _fill(self: Tensor, numbers: Any) -> Tensor:
    """Write numbers in the order of memory."""
    array = self._array
    order = np.argsort([-step for step in array.strides], kind="stable")
    array = (
        np.asarray(numbers)
        .astype(array.dtype)
        .reshape([array.shape[i] for i in order])
        .transpose(np.argsort(order))
    )
    return write(self, record("NormalBackward0", array, self.dtype, (self,), (lambda g: g * 0,)))


@method
def uniform_(
    self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None, **kwargs: Any
) -> Tensor:
    """Fill with uniform numbers from `from` to below `to`."""
    low = kwargs.pop("from", from_)
    u = stream_of(generator).uniform(self._array.size, self.dtype)
    kind = self._array.dtype.type
    span = kind(to) - kind(low)
    return _fill(self, fused(u, span, kind(low)) if self.dtype is dtypes.float32 else u * span + kind(low))


@method
def normal_(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with normal numbers."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    in_order = self._array.flags.c_contiguous
    return _fill(self, stream_of(generator).normal_scaled(self._array.size, self.dtype, mean, std, in_order))


@method
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponential numbers."""
    if self.dtype.kind != 2:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a floating "
            f"point but you specified {self.dtype.title}"
        )
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    return _fill(self, exponentials(stream_of(generator), self._array.size, lambd))


@method
def bernoulli_(self: Tensor, p: float | Tensor = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with coins: 1 with probability p."""
    generator = stream_of(generator)
    if isinstance(p, Tensor):
        return _fill(self, bernoulli(p.expand(self.shape), generator=generator)._array)
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return _fill(self, generator.uniform(self._array.size, dtypes.float64) < p)


@method
def random_(
    self: Tensor, from_: int | None = None, to: int | None = None, *, generator: Generator | None = None
) -> Tensor:
    """Fill with integers: below `to`, from `from` to below `to`, or up to what the type holds."""
    generator, n = stream_of(generator), self._array.size
    if from_ is not None:
        low, high = (0, from_) if to is None else (from_, to)
        return _fill(self, integers(generator, n, low, high))
    if self.dtype.kind == 2:
        digits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[self.dtype.name]
        words = generator.long_words(n) if self.dtype is dtypes.float64 else generator.words(n)
        return _fill(self, words.astype(np.uint64) % np.uint64(2**digits + 1))
    if self.dtype is dtypes.int64:
        return _fill(self, generator.long_words(n) & np.uint64(2**63 - 1))
    top = 1 if self.dtype is dtypes.bool_ else np.iinfo(self._array.dtype).max
    return _fill(self, generator.words(n).astype(np.uint64) % np.uint64(int(top) + 1))
