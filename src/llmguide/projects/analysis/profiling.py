"""What an update costs: the memory at its peak, and its time, measured and not computed.

A step holds the weights, the optimizer's averages of the trained ones, and, for a while, what the forward
pass keeps for the backward pass, and gradients. What is allocated and freed during a step is recorded, and
its highest sum added to what is there before it begins: so gradients that appear while activations go are
counted as they overlap. `llmguide.costs.memory` computes the same for models that fit on no machine here.

Leaves out: what allocators keep beside what was asked for.
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
    """Cost of an update.

    Attributes:
        trained: Parameters that are updated.
        held: Bytes of the weights and the optimizer state.
        peak: Bytes at the peak of a step, the held ones included.
        seconds: Median duration of a step.
    """

    trained: int
    held: int
    peak: int
    seconds: float


def step_cost(model: Any, batch: Batch) -> StepCost:
    """Measure an update of the trainable parameters of a model; none changes.

    Args:
        model: A decoder, on its device; parameters without gradients are frozen.
        batch: On the same device.
    """
    optimizer = make_optimizer(model, 0.0, weight_decay=0.0)

    def step() -> None:
        optimizer.zero_grad()
        accumulate_gradients(model, [batch], loss=batch_loss)
        optimizer.step()

    step()  # makes the optimizer's state
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
    """Measure the most bytes that tensors made during some work take at a time.

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
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it writes a line at each start and stop
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    now = peak = 0
    events: Any = recorded.profiler
    found = [event for event in events.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(found, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak
