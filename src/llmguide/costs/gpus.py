"""Peak speed and memory of common GPUs, and the GPU-hours and money that a computation takes.

GPU-hours follow from FLOPs (`llmguide.costs.flops`), the peak speed and the utilization. Money follows from
GPU-hours and their price.
"""

from typing import Literal, NamedTuple

from llmguide.costs._checks import require_positive


class Gpu(NamedTuple):
    """Peak dense 16-bit FLOP/s and memory of a GPU."""

    flops: float
    memory: float


# NVIDIA's data sheets and white papers, November 2026: tensor cores without sparsity, bfloat16 with float32
# sums (V100 and T4: float16), the SXM version if there are several
GPUS = {
    "v100": Gpu(125e12, 32e9),
    "t4": Gpu(65e12, 16e9),
    "a100": Gpu(312e12, 80e9),
    "rtx4090": Gpu(165e12, 24e9),
    "l40s": Gpu(362e12, 48e9),
    "h100": Gpu(989e12, 80e9),
    "h200": Gpu(989e12, 141e9),
    "b200": Gpu(2250e12, 180e9),
}
GpuName = Literal["v100", "t4", "a100", "rtx4090", "l40s", "h100", "h200", "b200"]


def gpu_hours(flops: float, *, peak_flops: float, utilization: float) -> float:
    """Convert FLOPs to device-hours at a given utilization.

    Args:
        flops: FLOPs that the model needs.
        peak_flops: FLOP/s of one device.
        utilization: MFU in (0, 1]; large runs report 0.3 to 0.5.

    Returns:
        Device-hours; divide by the number of devices for the duration.

    >>> round(gpu_hours(3.14e23, peak_flops=312e12, utilization=0.4))  # GPT-3 on A100s
    698896
    """
    require_positive(flops=flops, peak_flops=peak_flops, utilization=utilization)
    if utilization > 1:
        raise ValueError(f"utilization={utilization} is a fraction: at most 1")
    return flops / (utilization * peak_flops) / 3600


def cost(flops: float, *, peak_flops: float, utilization: float, price_per_hour: float) -> float:
    """Estimate what a computation costs on rented devices.

    Args:
        flops: FLOPs that the model needs.
        peak_flops: FLOP/s of one device.
        utilization: MFU in (0, 1].
        price_per_hour: Price of one device-hour, in any currency.

    Returns:
        The cost, in the currency of `price_per_hour`.

    >>> round(cost(3.6e18, peak_flops=1e15, utilization=0.5, price_per_hour=2.0), 9)  # 2 hours at 2 dollars
    4.0
    """
    require_positive(price_per_hour=price_per_hour)
    return price_per_hour * gpu_hours(flops, peak_flops=peak_flops, utilization=utilization)
