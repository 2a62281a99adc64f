"""Model FLOPs utilization (MFU): the fraction of a device's peak speed that training uses.

Reference: PaLM, Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
"""

from collections.abc import Sequence
from statistics import fmean
from time import perf_counter

import torch
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.costs.flops import forward_flops_per_token


def training_flops_per_token(model: nn.Module, context_length: int) -> float:
    """Count the training FLOPs per token: three times those of the forward pass.

    Args:
        model: Model of the run; without a `ModelConfig` in ``model.config``, 6 FLOPs a parameter are counted.
        context_length: Tokens T of a sequence, on which the cost of attention depends; at least 1.
    """
    config = getattr(model, "config", None)
    if isinstance(config, ModelConfig):
        return 3.0 * sum(forward_flops_per_token(config, context_length).values())
    return 6.0 * sum(p.numel() for p in model.parameters())


def utilization(
    model: nn.Module, batches: Sequence[tuple[Tensor | None, ...]], tokens_per_s: float, peak_flops: float
) -> float:
    """Compute the MFU of a step.

    Args:
        model: Model of the run.
        batches: Micro-batches of the step; the width of their first tensor is the sequence length T.
        tokens_per_s: Targets per second.
        peak_flops: Peak FLOP/s of all devices together.

    Returns:
        The fraction of the peak, above 0.
    """
    context_length = round(fmean(batch[0].shape[-1] for batch in batches if batch[0] is not None))
    return tokens_per_s * training_flops_per_token(model, context_length) / peak_flops


@torch.no_grad()
def measure_peak_flops(device: str | torch.device = "cpu") -> float:
    """Measure the FLOP/s of large float32 matrix products: the peak that the device reaches in practice.

    Args:
        device: Device to measure.

    Returns:
        The highest FLOP/s of several products of 2 n^3 FLOPs each, measured for about half a second.
    """
    n = 1024 if torch.device(device).type == "cpu" else 8192
    a = torch.randn(n, n, device=device)
    best, began = 0.0, perf_counter()
    while perf_counter() - began < 0.5 or best == 0:  # seconds
        start = perf_counter()
        (a @ a)[0, 0].item()  # waits for a GPU
        best = max(best, 2 * n**3 / (perf_counter() - start))
    return best
