"""Tensors of random numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.attributes import check_device
from torch.autograd.record import record
from torch.random import default_generator
from torch.tensor import Tensor, function, make
from torch.views import sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch.generator import Generator
    from torch.types import Array, Device, DType, Layout, Sizes


def stream_of(generator: Generator | None) -> Generator:
    """The generator, or the global one for None."""
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
    return _fresh(size, stream_of(generator).uniform, dtype, device, requires_grad, kwargs)


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
    return _fresh(size, stream_of(generator).normals, dtype, device, requires_grad, kwargs)


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


def integers(generator: Generator, n: int, low: int, high: int) -> Array:
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
    array = integers(stream_of(generator), math.prod(shape), low, high)
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
    for i, word in enumerate(stream_of(generator).words(max(n - 1, 0)).tolist()):
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
    u = stream_of(generator).uniform(
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
        return make(stream_of(generator).normal_scaled(math.prod(shape), d, mean, std).reshape(shape), d)
    tensors = [each for each in (mean, std) if isinstance(each, Tensor)]
    shape = np.broadcast_shapes(*(t.shape for t in tensors))
    d = tensors[0].dtype
    return make(stream_of(generator).normals(math.prod(shape), d).reshape(shape), d) * std + mean


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
    generator = stream_of(generator)
    if replacement and num_samples > 1:
        return make(_with_replacement(array, num_samples, generator), dtypes.int64)
    # a race: whose exponential waiting time, shortened by its probability, ends first
    waits = exponentials(generator, array.size, 1.0).astype(array.dtype).reshape(array.shape)
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


def exponentials(generator: Generator, n: int, rate: float) -> Array:
    """Exponential numbers of a rate."""
    return -1.0 / rate * np.log1p(-generator.uniform(n, dtypes.float64))


for _name in ("bernoulli", "multinomial"):
    setattr(Tensor, _name, globals()[_name])
