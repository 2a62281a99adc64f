"""Measure the peak memory and the time of an optimizer step.

Memory holds the weights, the optimizer state of the trained ones, and, during a step, activations and
gradients. Every allocation and release during a step is recorded, and the largest running sum is added to the
memory in use before the step. So gradients that are allocated while activations are freed are counted as they
overlap. `llmguide.costs.memory` computes the same for models too large to measure here.

Leaves out: memory that allocators reserve beyond what was requested.
"""

import os
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from llmguide.data.tokens.windows import Batch
from llmguide.training.losses import batch_loss
from llmguide.training.optimizers import make_optimizer
from llmguide.training.step import accumulate_gradients

N_TIMED = 3  # steps


class StepCost(NamedTuple):
    """Cost of an optimizer step.

    Attributes:
        trained: Number of trainable parameters.
        held: Bytes of weights and optimizer state.
        peak: Peak bytes during a step, including `held`.
        seconds: Median duration of a step.
    """

    trained: int
    held: int
    peak: int
    seconds: float


def step_cost(model: Any, batch: Batch) -> StepCost:
    """Measure an optimizer step on the trainable parameters of a model.

    The learning rate is 0, so no parameter changes.

    Args:
        model: A decoder, on its device; parameters without gradients are frozen.
        batch: Batch on the device of the model.
    """
    optimizer = make_optimizer(model, 0.0, weight_decay=0.0)

    def step() -> None:
        optimizer.zero_grad()
        accumulate_gradients(model, [batch], loss=batch_loss)
        optimizer.step()

    step()  # allocates the optimizer state
    optimizer.zero_grad()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [value for state in optimizer.state.values() for value in state.values()]
    held = sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor))
    peak = held + peak_bytes(step, next(model.parameters()).device)
    times = []
    for _ in range(N_TIMED):
        began = perf_counter()
        step()
        times.append(perf_counter() - began)
    return StepCost(trained, held, peak, median(times))


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Measure the peak bytes of the tensors that are allocated while a function runs.

    >>> def work():
    ...     a = torch.zeros(1000)  # 4,000 bytes
    ...     b = a + 1  # 4,000 more
    ...     del a
    ...     return b + 1  # in the place of a
    >>> round(peak_bytes(work, torch.device("cpu")), -3)
    8000
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it prints a line at each start and stop
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    now = peak = 0
    events: Any = recorded.profiler
    found = [event for event in events.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(found, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak
