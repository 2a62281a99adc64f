"""A stream of random numbers: torch's own on the CPU, bit for bit.

All come from one Mersenne twister of 32-bit words. A float32 in [0, 1) is 24 bits of one word, a float64 53
bits of two. Normal numbers come from pairs of those by Box and Muller's method: fewer than 16 at a time in
float64, more in blocks of 16 with the polynomials of torch's vector kernel.

The blocks are those of processors with AVX2; on others, torch's last digits differ. Earlier versions of torch
drew exponential numbers and coins from MKL's generator on Intel's processors; the binaries of 2.13 do not.
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.attributes import CPU, check_device
from torch.tensor import function, make

if TYPE_CHECKING:
    from typing import Any

    from torch.tensor import Tensor
    from torch.types import Array, Device, DType

_DEFAULT_SEED = 67280421310721
_CHUNK = (
    1 << 14
)  # normal numbers made at once, a multiple of 16: what is between stays in the processor's cache


@function
class Generator:
    """A stream of random numbers."""

    def __init__(self, device: Device = "cpu") -> None:
        check_device(device)
        self.device = CPU
        self.manual_seed(_DEFAULT_SEED)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to a seed."""
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError("Overflow when unpacking long long")
        self._seed = seed % 2**64
        self._twister = np.random.RandomState(self._seed % 2**32)
        self._normal: float | None = None  # the second of a pair, kept for the next call
        return self

    def seed(self) -> int:
        """Start a stream that nobody knows."""
        self.manual_seed(secrets.randbits(64))
        return self._seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._seed

    def get_state(self) -> Tensor:
        """Everything needed to go on from here, laid out as torch does."""
        words, at = _place_of(self._twister)
        state = np.zeros((), _STATE)
        state["seed"], state["left"], state["seeded"], state["next"] = self._seed, 625 - at, 1, at
        if at == 624 and self._fresh():
            state["next"] = 0
        state["words"] = words
        if self._normal is not None:
            state["normal"], state["has_normal"] = self._normal, 1
        return make(np.frombuffer(state.tobytes(), np.uint8).copy(), dtypes.uint8)

    def _fresh(self) -> bool:
        first, _ = _place_of(np.random.RandomState(self._seed % 2**32))
        return np.array_equal(_place_of(self._twister)[0], first)

    def set_state(self, new_state: Tensor) -> Generator:
        """Go on from a state of `get_state`."""
        if new_state.dtype is not dtypes.uint8 or new_state.numel() != _STATE.itemsize:
            raise RuntimeError("RNG state must be a torch.ByteTensor of the size that get_state returns")
        state = np.frombuffer(new_state._array.tobytes(), _STATE)[0]
        self._seed = int(state["seed"])
        self._twister = np.random.RandomState()
        words, at = state["words"].astype(np.uint32), int(625 - state["left"])
        self._twister.set_state(("MT19937", words, at, 0, 0.0))
        self._normal = float(state["normal"]) if state["has_normal"] else None
        return self

    def clone_state(self) -> Generator:
        """Another generator at the same place."""
        return Generator().set_state(self.get_state())

    # what the distributions draw

    def words(self, n: int) -> Array:
        """The next 32-bit words."""
        return np.frombuffer(self._twister.bytes(4 * n), "<u4")

    def long_words(self, n: int) -> Array:
        """The next 64-bit words."""
        pairs = self.words(2 * n).astype(np.uint64)
        return (pairs[0::2] << np.uint64(32)) | pairs[1::2]

    def uniform(self, n: int, dtype: DType) -> Array:
        """Numbers in [0, 1); of a complex type, each of the two parts."""
        if dtype.kind < 2:
            raise NotImplementedError(f"\"check_uniform_bounds\" not implemented for '{dtype.title}'")
        if dtype.kind == 3:
            return self.uniform(2 * n, dtype.to_real()).view(dtype.storage)
        if dtype is dtypes.float64:
            return (self.long_words(n) & np.uint64(2**53 - 1)).astype(np.float64) * 2.0**-53
        return (self.words(n) & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2.0**-24)

    def normals(self, n: int, dtype: DType, in_order: bool = True) -> Array:
        """Standard normal numbers as `normal_scaled` of mean 0 and deviation 1 gives them."""
        return self.normal_scaled(n, dtype, 0.0, 1.0, in_order)

    def normal_scaled(self, n: int, dtype: DType, mean: float, std: float, in_order: bool = True) -> Array:
        """Normal numbers; `in_order` says that they go into contiguous memory."""
        if dtype.kind < 2:
            raise NotImplementedError(f"\"normal_kernel_cpu\" not implemented for '{dtype.title}'")
        if dtype.kind == 3:  # each part has half the variance
            parts = self.normal_scaled(2 * n, dtype.to_real(), mean, std / math.sqrt(2), in_order)
            return parts.view(dtype.storage)
        if n < 16 or not in_order:
            return np.array([self._one_normal() * std + mean for _ in range(n)], np.float64).astype(
                dtype.storage
            )
        if dtype.rounded is not None:
            raise NotImplementedError(
                f"{n} normal numbers of type {dtype!r} are not in the in-page subset; draw float32 and "
                "convert"
            )
        block = _normal_blocks_32 if dtype is dtypes.float32 else _normal_blocks_64
        out = np.empty(n, dtype.storage)
        for start in range(0, n, _CHUNK):
            u = self.uniform(min(_CHUNK, n - start), dtype)
            whole = len(u) - len(u) % 16
            out[start : start + whole] = block(u[:whole], mean, std)
        if n % 16:  # the last 16 are drawn anew
            out[n - 16 :] = block(self.uniform(16, dtype), mean, std)
        return out

    def _one_normal(self) -> float:
        if self._normal is not None:
            found, self._normal = self._normal, None
            return found
        u1, u2 = self.uniform(2, dtypes.float64).tolist()
        radius, angle = math.sqrt(-2 * math.log1p(-u2)), 2 * math.pi * u1
        self._normal = radius * math.sin(angle)
        return radius * math.cos(angle)


def _place_of(twister: np.random.RandomState) -> tuple[Array, int]:
    """The words of a Mersenne twister, and how many of them are used up."""
    state = twister.get_state(legacy=False)["state"]
    return state["key"], state["pos"]


# torch's CPUGeneratorImplState
_STATE = np.dtype(
    [
        ("seed", "<u8"), ("left", "<i4"), ("seeded", "<i4"), ("next", "<u8"), ("words", "<u8", 624),
        ("x", "<f8"), ("normal", "<f8"), ("rho", "<f8"), ("has_normal", "<i4"), ("float_normal", "<f4"),
        ("has_float_normal", "<i8"),
    ]
)  # fmt: skip


# ---------------------------------------------------------------------- Box and Muller in blocks

_F = np.float32


def fused(a: Array, b: Any, c: Any) -> Array:
    """`a * b + c`, rounded once, as the processor's instruction does."""
    return (np.multiply(a, b, dtype=np.float64) + c).astype(_F)


def _log(x: Array) -> Array:
    """Natural logarithm of numbers in (0, 1], by the polynomial of Cephes in torch's order."""
    bits = x.view(np.int32)
    exponent = ((bits >> 23) - 126).astype(_F)
    m = ((bits & ~0x7F800000) | 0x3F000000).view(_F)  # in [0.5, 1)
    low = m < _F(0.707106781186547524)
    exponent = exponent - low
    m = (m - _F(1)) + np.where(low, m, _F(0))
    z = m * m
    y = np.full_like(m, 7.0376836292e-2)
    for c in (
        -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    ):  # fmt: skip
        y = fused(y, m, _F(c))
    y = fused(y * m, z, exponent * _F(-2.12194440e-4))
    y = fused(-z, _F(0.5), y)
    return fused(exponent, _F(0.693359375), m + y)


def _cos_sin(x: Array) -> tuple[Array, Array]:
    """Cosine and sine of angles in [0, 2 pi), by the polynomials of Cephes in torch's order."""
    octant = ((x * _F(1.27323954473516)).astype(np.int32) + 1) & ~1
    y = octant.astype(_F)
    for part in (-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8):  # of pi / 4
        x = fused(y, _F(part), x)
    z = x * x
    c = np.full_like(x, 2.443315711809948e-005)
    c = fused(c, z, _F(-1.388731625493765e-003))
    c = fused(c, z, _F(4.166664568298827e-002))
    c = fused(c * z, z, -(z * _F(0.5))) + _F(1)
    s = np.full_like(x, -1.9515295891e-4)
    s = fused(s, z, _F(8.3321608736e-3))
    s = fused(s, z, _F(-1.6666654611e-1))
    s = fused(s * z, x, x)
    swapped = (octant & 2) != 0
    sine, cosine = np.where(swapped, c, s), np.where(swapped, s, c)
    return np.where((octant - 2) & 4, cosine, -cosine), np.where(octant & 4, -sine, sine)


def _normal_blocks_32(u: Array, mean: float, std: float) -> Array:
    u = u.reshape(-1, 2, 8)
    radius = np.sqrt(_F(-2) * _log(_F(1) - u[:, 0]))
    cosine, sine = _cos_sin(_F(2 * math.pi) * u[:, 1])
    both = np.stack([radius * cosine, radius * sine], 1).reshape(-1)
    return fused(both, _F(std), _F(mean))


def _normal_blocks_64(u: Array, mean: float, std: float) -> Array:
    u = u.reshape(-1, 2, 8)
    radius = np.sqrt(-2 * np.log(1 - u[:, 0]))
    angle = 2 * math.pi * u[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1) * std + mean
