"""Save and load checkpoints in a run of any number of processes, with the model replicated or sharded.

All processes must see the same folder. A run may continue with another number of processes, and switch
between FSDP and DDP.

Leaves out: asynchronous writing.
"""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmguide.files import sha256
from llmguide.training import checkpoint
from llmguide.training.distributed import world
from llmguide.training.sharded_tensors import RUN, as_shard, is_shard, read_shards


def save(
    folder: str | Path, state: dict[str, Any], *, step: int, keep_last: int = 3, pinned: Collection[int] = ()
) -> None:
    """Save a checkpoint: a replicated model from rank 0, a sharded one from all processes.

    Args:
        folder: Checkpoint folder, which all processes see.
        state: State with ``model`` (tensors by name) and ``optimizer`` (tensors by parameter name).
        step: Step of the checkpoint, from 0.
        keep_last: Number of newest checkpoints to keep, at least 1.
        pinned: Steps whose checkpoints are never deleted.
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
        folder: Checkpoint folder, which all processes see; process 0 checks for damage.
        model: Model that the run continues with. The tensors of sharded parameters, and their optimizer
            state, are read as shards.

    Returns:
        The state, or None if there is no checkpoint.
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
        if name in state["model"]:  # a frozen parameter is not
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
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that died
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
