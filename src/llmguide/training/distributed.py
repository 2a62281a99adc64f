r"""Data-parallel training in several processes, started by `torchrun`: one for each GPU.

Each process takes its slice of every batch, so a step uses the same batch as a single process would.
`average_gradients` is a readable version of what DDP does. The loss is a mean over the targets of all
processes,

$$L = \frac{\sum_r n_r L_r}{\sum_r n_r}$$

not the mean of the processes' means. With ``parallel="ddp"`` every process holds the model and gradients
are averaged; with ``"fsdp"`` each holds a slice of every weight, gradient and optimizer state, and gathers
the weights of one block when it runs. Muon gathers a whole matrix in every process for its update.

The random numbers of a step (dropout) are seeded by seed, step and rank, so no random state has to be saved;
with another number of processes the run continues with different random numbers.

References: DDP (Li et al. 2020, arXiv:2006.15704); FSDP (Zhao et al. 2023, arXiv:2304.11277); its stages
(ZeRO, Rajbhandari et al. 2019, arXiv:1910.02054).

PPO and GRPO split their prompts among the processes with the same functions; see
`llmguide.post_training.rl.trainer`.

Leaves out: tensor, pipeline and context parallelism.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmguide.training import checkpoint

Parallel = Literal["ddp", "fsdp"]
# From model and batch to the mean loss, with its graph, and the number of targets that it averages.
Loss = Callable[[Any, Any], tuple[Tensor, int]]


class ProcessGroup(NamedTuple):
    """The process group of a run, as seen from one process.

    Attributes:
        rank: Rank of this process, from 0; rank 0 writes files and messages.
        size: Number of processes (the world size).
    """

    rank: int = 0
    size: int = 1


SINGLE_PROCESS = ProcessGroup()


def init_process_group() -> torch.device:
    """Initialize the process group of `torchrun`; without `torchrun`, do nothing.

    Returns:
        The device of this process: its own GPU, or the CPU if there is none.
    """
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if has_gpu else torch.device("cpu")
    if "RANK" in os.environ and not dist.is_initialized():
        if has_gpu:
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo")
    return device


def world() -> ProcessGroup:
    """Return the rank of this process and the world size; without `torchrun`, 0 and 1.

    >>> world()
    ProcessGroup(rank=0, size=1)
    """
    is_one_of_many = dist.is_available() and dist.is_initialized()
    return ProcessGroup(dist.get_rank(), dist.get_world_size()) if is_one_of_many else SINGLE_PROCESS


def wrap(model: nn.Module, loss: Loss, parallel: Parallel) -> tuple[nn.Module, Loss]:
    """Wrap a model in DDP or FSDP, if there are several processes.

    Args:
        model: Model to train; the weights of rank 0 are broadcast to all processes. FSDP shards it in place,
            block by block.
        loss: Function from the model and a batch to the mean loss and the number of targets.
        parallel: ``ddp``: every process holds the whole model. ``fsdp``: each holds a shard of every weight.

    Returns:
        A module and a function: ``loss_of(module, batch)`` is ``loss(model, batch)`` with gradients averaged
        over the processes.
    """
    if not dist.is_initialized():
        return model, loss
    if parallel == "ddp":
        return nn.parallel.DistributedDataParallel(_LossModule(model, loss)), _call
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # noqa: PLC0415  # 0.4 s

    from llmguide.training.activation_checkpointing import find_blocks  # noqa: PLC0415

    for param in model.parameters():
        param.data = param.data.contiguous()  # FSDP refuses transposed weights, as in files of GPT-2
    broadcast(model)
    for block in find_blocks(model):
        fully_shard(block)
    fully_shard(model)
    if hasattr(model, "hidden"):  # methods of the model that the losses call, besides forward
        register_fsdp_forward_method(model, "hidden")
    return model, loss


def broadcast(model: nn.Module) -> None:
    """Broadcast the weights of rank 0 to all processes."""
    if world().size > 1:
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.detach(), 0)


class _LossModule(nn.Module):
    """A module whose forward pass computes the loss, because DDP hooks into the forward pass of a module."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Any) -> tuple[Tensor, int]:
        return self.loss(self.model, batch)


def _call(module: nn.Module, batch: Any) -> tuple[Tensor, int]:
    result: tuple[Tensor, int] = module(batch)
    return result


def local_range(first: int, size: int) -> tuple[int, int]:
    """Split the sequences ``first`` to ``first + size - 1`` among the processes.

    Args:
        first: Position of the first sequence of the batch.
        size: Number of sequences of the batch, a multiple of the number of processes.

    Returns:
        The position of the first sequence of this process, and the number of its sequences.

    Raises:
        ValueError: The number of processes does not divide `size`.
    """
    rank, n = world()
    if size % n:
        raise ValueError(f"{size} sequences do not divide among {n} processes; use a multiple of {n}")
    return first + rank * (size // n), size // n


def all_reduce_sum(*numbers: float, device: torch.device) -> list[float]:
    """Sum numbers over all processes (all-reduce)."""
    if world().size == 1:
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


def all_reduce_(tensors: Sequence[Tensor]) -> None:
    """Sum tensors over all processes (all-reduce), in place and in one message."""
    if world().size == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, part in zip(tensors, torch.split(flat, sizes), strict=True):
        tensor.copy_(part.view_as(tensor))


def rank_slice(n: int, rank: int | None = None) -> slice:
    """Return the slice of n rows that belongs to a rank; the sizes of slices differ by at most one row.

    Args:
        n: Number of rows, at least 0.
        rank: Rank of the process, from 0; None: this process.

    >>> rank_slice(5)
    slice(0, 5, None)
    """
    own, size = world()
    rank = own if rank is None else rank
    return slice(n * rank // size, n * (rank + 1) // size)


def all_gather(rows: Tensor, n: int) -> Tensor:
    """All-gather the rows of every process into one tensor.

    Args:
        rows: Rows of this process, those of its `rank_slice` first; surplus rows are dropped.
        n: Number of rows of all processes together.

    Returns:
        All n rows, in order.
    """
    size = world().size
    if size == 1:
        return rows
    slices = [rank_slice(n, rank) for rank in range(size)]
    counts = [part.stop - part.start for part in slices]
    own = rows.new_zeros(max(counts), *rows.shape[1:])
    own[: len(rows)] = rows
    gathered = [torch.empty_like(own) for _ in range(size)]
    dist.all_gather(gathered, own)
    return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])


def seed_rank(seed: int, step: int, *, same: bool = False) -> None:
    """Seed torch's generators from the step and, unless they must agree, from the rank."""
    rank = 0 if same else world().rank + 1
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]))


def broadcast_rng_state() -> None:
    """Broadcast the random state of rank 0, so that all processes sample the same numbers."""
    if world().size > 1:
        state = [checkpoint.random_state()]
        dist.broadcast_object_list(state)
        checkpoint.set_random_state(state[0])
