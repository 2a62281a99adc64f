r"""The same training loop in several processes, which `torchrun` starts: one for each GPU.

Each process takes its slice of every batch, so the batch of a step is the one that a single process would
take. The loss is a mean over all targets of all processes,

$$L = \frac{\sum_r n_r L_r}{\sum_r n_r}$$

and not the mean of the processes' means. With ``parallel="ddp"`` every process holds the model and gradients
are averaged; with ``"fsdp"`` each holds a slice of every weight, gradient and optimizer state, and gathers
the weights of one block when it runs. Muon gathers a whole matrix in every process for its update.

Random numbers (dropout) of a step follow from seed, step and rank, so that nothing about them has to be
saved; with another number of processes the run continues with other ones.

References: DDP (Li et al. 2020, arXiv:2006.15704); FSDP (Zhao et al. 2023, arXiv:2304.11277); its stages
(ZeRO, Rajbhandari et al. 2019, arXiv:1910.02054).

PPO and GRPO divide their prompts among the processes with the same means; `llmguide.post_training.rl.trainer`
says how.

Leaves out: tensor, pipeline and context parallelism, and checkpoints written in the background. All
processes must see the same checkpoint folder.
"""

import json
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmguide.files import sha256
from llmguide.training import checkpoint
from llmguide.training.sharded import RUN, as_shard, is_shard, read_shards

Parallel = Literal["ddp", "fsdp"]
# Maps model and batch to a mean, with its graph, and the number of targets that it is the mean of.
Loss = Callable[[Any, Any], tuple[Tensor, int]]


class World(NamedTuple):
    """This process among all.

    Attributes:
        rank: Its number, from 0; process 0 writes files and talks.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1


SINGLE_PROCESS = World()


def start() -> torch.device:
    """Join the processes that `torchrun` started; without it, do nothing.

    Returns:
        The device of this process: its own GPU if there are any.
    """
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if has_gpu else torch.device("cpu")
    if "RANK" in os.environ and not dist.is_initialized():
        if has_gpu:
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo")
    return device


def world() -> World:
    """Find the place of this process; a process of its own is 0 of 1.

    >>> world()
    World(rank=0, size=1)
    """
    is_one_of_many = dist.is_available() and dist.is_initialized()
    return World(dist.get_rank(), dist.get_world_size()) if is_one_of_many else SINGLE_PROCESS


def wrap(model: nn.Module, loss: Loss, parallel: Parallel) -> tuple[nn.Module, Loss]:
    """Prepare a model for training in this world.

    Args:
        model: With the weights of process 0 afterwards. FSDP slices it in place, block by block.
        loss: Of the model and a batch, as in `llmguide.training.train.train`.
        parallel: How the processes share the work.

    Returns:
        What to call with a batch, and how: ``loss_of(module, batch)`` is ``loss(model, batch)`` with
        gradients averaged over the processes.
    """
    if not dist.is_initialized():
        return model, loss
    if parallel == "ddp":
        return nn.parallel.DistributedDataParallel(_LossModule(model, loss)), _call
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # noqa: PLC0415  # 0.4 s

    from llmguide.training.activation_checkpointing import find_blocks  # noqa: PLC0415

    for param in model.parameters():
        param.data = param.data.contiguous()  # transposed ones, as in files of GPT-2, FSDP refuses
    broadcast(model)
    for block in find_blocks(model):
        fully_shard(block)
    fully_shard(model)
    if hasattr(model, "hidden"):  # the losses' way into the model, next to forward
        register_fsdp_forward_method(model, "hidden")
    return model, loss


def broadcast(model: nn.Module) -> None:
    """Give every process the weights of process 0."""
    if world().size > 1:
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.detach(), 0)


class _LossModule(nn.Module):
    """DDP watches the forward pass of one module, and the losses are functions of a model."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Any) -> Any:
        return self.loss(self.model, batch)


def _call(module: nn.Module, batch: Any) -> Any:
    return module(batch)


def share(first: int, size: int) -> tuple[int, int]:
    """Cut the sequences ``first`` to ``first + size - 1`` into slices, and return this process's one.

    Returns:
        Its first sequence, and how many there are.

    Raises:
        ValueError: They cannot be cut into equal slices.
    """
    rank, n = world()
    if size % n:
        raise ValueError(f"{size} sequences do not divide among {n} processes; use a multiple of {n}")
    return first + rank * (size // n), size // n


def all_reduce_sum(*numbers: float, device: torch.device) -> list[float]:
    """Sum numbers over all processes."""
    if world().size == 1:
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


def all_reduce_(tensors: Sequence[Tensor]) -> None:
    """Sum tensors over all processes, in place and in one message."""
    if world().size == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, part in zip(tensors, torch.split(flat, sizes), strict=True):
        tensor.copy_(part.view_as(tensor))


def rank_slice(n: int, rank: int | None = None) -> slice:
    """Cut n rows into slices that differ by one row at most, and return that of a process; None: this one.

    >>> rank_slice(5)
    slice(0, 5, None)
    """
    own, size = world()
    rank = own if rank is None else rank
    return slice(n * rank // size, n * (rank + 1) // size)


def all_gather(rows: Tensor, n: int) -> Tensor:
    """Gather all n rows, of which each process has those of its `rank_slice`, or more, which do not count."""
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
    """Give every process the random state of process 0, so that all draw the same."""
    if world().size > 1:
        state = [checkpoint.random_state()]
        dist.broadcast_object_list(state)
        checkpoint.set_random_state(state[0])


def save(
    folder: str | Path, state: dict[str, Any], *, step: int, keep_last: int = 3, pinned: Collection[int] = ()
) -> None:
    """Save a checkpoint: an unsharded model from one process, a sharded one from all of them.

    Args:
        folder: Seen by all processes.
        state: With ``model`` (tensors by name) and ``optimizer`` (by parameter, tensors by name).
        step: As there.
        keep_last: As there.
        pinned: As there.
    """
    if any(is_shard(tensor) for tensor in state["model"].values()):
        _save_shards(Path(folder), state, step=step, keep_last=keep_last, pinned=pinned)
    elif world().rank == 0:
        checkpoint.save(folder, state, step=step, keep_last=keep_last, pinned=pinned)
    if world().size > 1:
        dist.barrier()


def load_latest(folder: str | Path, model: nn.Module) -> dict[str, Any] | None:
    """Read the newest intact state, whatever the number of processes that wrote it.

    Args:
        folder: Seen by all processes; process 0 looks for damage.
        model: Where its parameters are sharded, their tensors and those of the optimizer are read as shards.

    Returns:
        The state, or None if there is none.
    """
    chosen = [checkpoint.newest_intact(folder) if world().rank == 0 else None]
    if world().size > 1:
        dist.broadcast_object_list(chosen)
    path = chosen[0]
    if path is None:
        return None
    parameters = {name: p for name, p in model.named_parameters() if is_shard(p)}
    if path.is_dir():
        return read_shards(path, parameters)
    state = checkpoint.read(path)
    for name, param in parameters.items():
        state["model"][name] = as_shard(state["model"][name], param)
        for key, value in state["optimizer"].get(name, {}).items():
            if isinstance(value, Tensor):
                state["optimizer"][name][key] = as_shard(value, param)
    return state


def _save_shards(
    folder: Path, state: dict[str, Any], *, step: int, keep_last: int, pinned: Collection[int]
) -> None:
    from torch.distributed.checkpoint.state_dict_saver import save as save_tensors  # noqa: PLC0415

    checkpoint.require_places(step, keep_last)
    unfinished = folder / ".unfinished-shards"
    rank = world().rank
    if rank == 0:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a process that died
        unfinished.mkdir(parents=True)
    dist.barrier()
    tensors = {f"model/{name}": tensor for name, tensor in state["model"].items()}
    rest = {**state, "model": {}, "optimizer": {}}
    for name, values in state["optimizer"].items():
        tensors |= {f"optimizer/{name}/{key}": v for key, v in values.items() if isinstance(v, Tensor)}
        rest["optimizer"][name] = {key: v for key, v in values.items() if not isinstance(v, Tensor)}
    save_tensors(tensors, checkpoint_id=unfinished)
    dist.barrier()
    if rank == 0:
        with (unfinished / RUN).open("wb") as file:
            torch.save(rest, file)
        hashes = {path.name: sha256(path) for path in sorted(unfinished.iterdir())}
        (unfinished / checkpoint.MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
        checkpoint.finish(unfinished, step=step, keep_last=keep_last, pinned=pinned)
