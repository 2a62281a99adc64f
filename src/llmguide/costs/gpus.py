"""Peak speed and memory of common GPUs."""

from typing import Literal, NamedTuple


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
