"""Tensors of random numbers, and filling tensors with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.attributes import check_device
from torch.autograd.record import record, write
from torch.generator import fused
from torch.random import default_generator
from torch.tensor import Tensor, function, make, method
from torch.views import sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch.generator import Generator
    from torch.types import Array, Device, DType, Layout, Sizes


def _of_generator(generator: Generator | None) -> Generator:
    return default_generator if generator is None else generator


def _fresh(
    size: Sizes,
    draw: Callable[[int, DType], Array],
    dtype: DType | None,
    device: Device,
    requires_grad: bool,
    kwargs: dict[str, Any],
) -> Tensor:
    check_device(device)
    if "size" in kwargs:
        size = (kwargs.pop("size"),)
    if kwargs:
        raise TypeError(f"unexpected keyword argument '{next(iter(kwargs))}'")
    shape = sizes_of(size)
    d = dtype or dtypes.get_default_dtype()
    out = make(draw(math.prod(shape), d).reshape(shape), d)
    return out.requires_grad_() if requires_grad else out


@function
def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
    layout: Layout | None = None,
    pin_memory: bool = False,
    **kwargs: Any,
) -> Tensor:
    """Uniform numbers in [0, 1)."""
    return _fresh(size, _of_generator(generator).uniform, dtype, device, requires_grad, kwargs)


@function
def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
    layout: Layout | None = None,
    pin_memory: bool = False,
    **kwargs: Any,
) -> Tensor:
    """Standard normal numbers."""
    return _fresh(size, _of_generator(generator).normals, dtype, device, requires_grad, kwargs)


@function
def rand_like(
    input: Tensor,
    *,
    dtype: DType | None = None,
    generator: Generator | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in the shape of a tensor."""
    return rand(
        input.shape,
        dtype=dtype or input.dtype,
        generator=generator,
        device=device,
        requires_grad=requires_grad,
    )


@function
def randn_like(
    input: Tensor,
    *,
    dtype: DType | None = None,
    generator: Generator | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers in the shape of a tensor."""
    return randn(
        input.shape,
        dtype=dtype or input.dtype,
        generator=generator,
        device=device,
        requires_grad=requires_grad,
    )


def _integers(generator: Generator, n: int, low: int, high: int) -> Array:
    """Integers from low to below high."""
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    span = high - low
    words = generator.long_words(n) if span >= 2**28 else generator.words(n)
    return (words % words.dtype.type(span)).astype(np.int64) + low


@function
def randint(
    *args: Any,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
    **kwargs: Any,
) -> Tensor:
    """Integers from `low`, 0 if it is left out, to below `high`."""
    check_device(device)
    names = ("high", "size") if len(args) + len(kwargs) == 2 else ("low", "high", "size")
    given = dict(zip([name for name in names if name not in kwargs], args, strict=True)) | kwargs
    d = dtype or dtypes.int64
    shape = sizes_of((given["size"],))
    low, high = int(given.get("low", 0)), int(given["high"])
    array = _integers(_of_generator(generator), math.prod(shape), low, high)
    return make(array.astype(d.storage, copy=False).reshape(shape), d)


@function
def randint_like(
    input: Tensor, *args: Any, dtype: DType | None = None, generator: Generator | None = None
) -> Tensor:
    """Integers in the shape of a tensor."""
    return randint(*args, input.shape, dtype=dtype or input.dtype, generator=generator)


@function
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """The numbers from 0 to n - 1 in random order."""
    check_device(device)
    d = dtype or dtypes.int64
    order = list(range(n))
    for i, word in enumerate(_of_generator(generator).words(max(n - 1, 0)).tolist()):
        j = i + word % (n - i)
        order[i], order[j] = order[j], order[i]
    return make(np.array(order, d.storage), d)


@function
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """Coins: 1 with the probability that the tensor holds."""
    if p is not None:
        return Tensor.bernoulli_(make(np.empty_like(input._array), input.dtype), p, generator=generator)
    array = input._array
    if ((array < 0) | (array > 1)).any():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    u = _of_generator(generator).uniform(
        array.size, dtypes.float64 if input.dtype is dtypes.float64 else dtypes.float32
    )
    coins = (u.reshape(array.shape) < array).astype(array.dtype)
    return record("BernoulliBackward0", coins, input.dtype, (input,), (lambda g: g * 0,))


@function
def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
) -> Tensor:
    """Normal numbers of given mean and deviation, each a number or a tensor."""
    if size is not None:
        shape = sizes_of((size,))
        d = dtype or dtypes.get_default_dtype()
        return make(_of_generator(generator).normal_scaled(math.prod(shape), d, mean, std).reshape(shape), d)
    tensors = [each for each in (mean, std) if isinstance(each, Tensor)]
    shape = np.broadcast_shapes(*(t.shape for t in tensors))
    d = tensors[0].dtype
    return make(_of_generator(generator).normals(math.prod(shape), d).reshape(shape), d) * std + mean


@function
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Draw places with the probabilities that each row holds, which need not sum to 1."""
    array = input._array
    if input.dtype.kind != 2:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {input.dtype.title}"
        )
    if array.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > array.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (array.sum(-1) == 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    generator = _of_generator(generator)
    if replacement and num_samples > 1:
        return make(_with_replacement(array, num_samples, generator), dtypes.int64)
    # a race: whose exponential waiting time, shortened by its probability, ends first
    waits = _exponential(generator, array.size, 1.0).astype(array.dtype).reshape(array.shape)
    if input.dtype.rounded is not None:
        waits = input.dtype.rounded(waits)
    speed = make(array / waits, input.dtype)
    if num_samples == 1:
        return speed.argmax(-1, keepdim=True)
    return speed.topk(num_samples, -1).indices


def _with_replacement(array: Array, num_samples: int, generator: Generator) -> Array:
    rows = array.reshape(-1, array.shape[-1])
    found = np.empty((len(rows), num_samples), np.int64)
    for i, row in enumerate(rows):
        cumulative = row.cumsum(dtype=row.dtype)
        cumulative = cumulative / cumulative[-1]
        cumulative[-1] = 1
        u = generator.uniform(num_samples, dtypes.float64)
        found[i] = np.searchsorted(cumulative.astype(np.float64), u)
    return found.reshape(*array.shape[:-1], num_samples)


def _exponential(generator: Generator, n: int, rate: float) -> Array:
    return -1.0 / rate * np.log1p(-generator.uniform(n, dtypes.float64))


for _name in ("bernoulli", "multinomial"):
    setattr(Tensor, _name, globals()[_name])


# ---------------------------------------------------------------------- filling a tensor


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
    u = _of_generator(generator).uniform(self._array.size, self.dtype)
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
    return _fill(
        self, _of_generator(generator).normal_scaled(self._array.size, self.dtype, mean, std, in_order)
    )


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
    return _fill(self, _exponential(_of_generator(generator), self._array.size, lambd))


@method
def bernoulli_(self: Tensor, p: float | Tensor = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with coins: 1 with probability p."""
    generator = _of_generator(generator)
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
    generator, n = _of_generator(generator), self._array.size
    if from_ is not None:
        low, high = (0, from_) if to is None else (from_, to)
        return _fill(self, _integers(generator, n, low, high))
    if self.dtype.kind == 2:
        digits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[self.dtype.name]
        words = generator.long_words(n) if self.dtype is dtypes.float64 else generator.words(n)
        return _fill(self, words.astype(np.uint64) % np.uint64(2**digits + 1))
    if self.dtype is dtypes.int64:
        return _fill(self, generator.long_words(n) & np.uint64(2**63 - 1))
    top = 1 if self.dtype is dtypes.bool_ else np.iinfo(self._array.dtype).max
    return _fill(self, generator.words(n).astype(np.uint64) % np.uint64(int(top) + 1))
