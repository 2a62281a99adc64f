"""Tensors that several processes hold in slices: put together, cut alike, and read from a checkpoint.

`llmguide.distributed` makes them with FSDP and saves them; the model, the optimizer and a single process meet
them here.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

RUN = "run.pt"  # in a sharded checkpoint: what is no tensor of the model or the optimizer


def read_shards(path: Path, parameters: dict[str, nn.Parameter] | None = None) -> dict[str, Any]:
    """Read a sharded checkpoint.

    Args:
        path: Its folder.
        parameters: Those that are sharded now, by name; all other tensors are read whole.

    Returns:
        The state that was saved.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader  # noqa: PLC0415  # 0.3 s
    from torch.distributed.checkpoint.state_dict_loader import load  # noqa: PLC0415

    state: dict[str, Any] = torch.load(path / RUN, weights_only=True)
    index = FileSystemReader(path).read_metadata().state_dict_metadata
    tensors: dict[str, Any] = {}
    for key, entry in index.items():
        param = (parameters or {}).get(key.split("/")[1])
        if param is None:
            tensors[key] = torch.empty(entry.size, dtype=entry.properties.dtype)  # type: ignore[union-attr]
        else:
            tensors[key] = torch.zeros_like(param, requires_grad=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # it is meant to be
        load(tensors, checkpoint_id=path, no_dist=not torch.distributed.is_initialized())
    for key, tensor in tensors.items():
        part, name, *rest = key.split("/")
        if rest:
            state[part][name][rest[0]] = tensor
        else:
            state[part][name] = tensor
    return state


def as_shard(tensor: Tensor, like: Tensor) -> Any:
    """Cut a tensor that all processes hold in the way that another one is cut; no process sends anything."""
    from torch.distributed.tensor import DTensor, Replicate  # noqa: PLC0415  # 0.4 s

    mesh: Any = like.device_mesh  # type: ignore[attr-defined]
    whole = DTensor.from_local(tensor.to(like.device), mesh, [Replicate()] * mesh.ndim, run_check=False)
    return whole.redistribute(mesh, like.placements)  # type: ignore[attr-defined]


def gathered(tensor: Tensor) -> Tensor:
    """Put a sharded tensor together on every process; another is returned as it is."""
    shard: Any = tensor
    return shard.full_tensor() if is_shard(tensor) else tensor


def is_shard(tensor: Tensor) -> bool:
    """Whether a tensor is a slice of one that several processes hold together, a DTensor."""
    return hasattr(tensor, "full_tensor")  # to import the class takes 0.4 s
