"""Sharded tensors, of which each process holds a slice: gather, shard and load them.

`llmguide.training.distributed` creates them with FSDP. Loading a checkpoint runs no code from it, not even
from its index, which is a pickle.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmguide.training import pickles

RUN = "run.pt"  # file of a sharded checkpoint with everything but the tensors of model and optimizer
_CHECKPOINT = "torch.distributed.checkpoint"
_INDEX = {  # classes in the index of a checkpoint
    *(f"{_CHECKPOINT}.metadata.{name}" for name in ("Metadata", "MetadataIndex", "StorageMeta")),
    *(f"{_CHECKPOINT}.metadata.{name}" for name in ("TensorProperties", "TensorStorageMetadata")),
    *(f"{_CHECKPOINT}.metadata.{name}" for name in ("ChunkStorageMetadata", "_MEM_FORMAT_ENCODING")),
    f"{_CHECKPOINT}.filesystem._StorageInfo",
    "torch.serialization._get_layout",
    "torch.Size",
    *(f"pathlib.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"pathlib._local.{name}" for name in ("PosixPath", "WindowsPath")),  # Python 3.13
}


def read_shards(path: Path, parameters: dict[str, nn.Parameter] | None = None) -> dict[str, Any]:
    """Load a sharded checkpoint.

    Args:
        path: Folder of the checkpoint.
        parameters: Parameters by name that are sharded in this process; all other tensors are read whole.

    Returns:
        The state that was saved.

    Raises:
        ValueError: The index is damaged, or lists more than tensors.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader  # noqa: PLC0415  # 0.3 s
    from torch.distributed.checkpoint.state_dict_loader import load  # noqa: PLC0415

    index = read_index(path)

    class Reader(FileSystemReader):
        def read_metadata(
            self, *_: Any, **__: Any
        ) -> Any:  # torch's own reader would run code from the pickle
            return index

    state: dict[str, Any] = torch.load(path / RUN, weights_only=True)
    tensors: dict[str, Any] = {}
    for key, entry in index.state_dict_metadata.items():
        param = (parameters or {}).get(key.split("/")[1])
        if param is None:
            tensors[key] = torch.empty(entry.size, dtype=entry.properties.dtype)
        else:
            tensors[key] = torch.zeros_like(param, requires_grad=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # it is meant to be
        load(tensors, storage_reader=Reader(path), no_dist=not torch.distributed.is_initialized())
    for key, tensor in tensors.items():
        part, name, *rest = key.split("/")
        if rest:
            state[part][name][rest[0]] = tensor
        else:
            state[part][name] = tensor
    return state


def read_index(path: Path) -> Any:
    """Read the index of a sharded checkpoint, torch's ``Metadata``, without running code.

    Raises:
        ValueError: The index is damaged, or lists more than tensors.
    """
    from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata  # noqa: PLC0415

    index = pickles.loads((path / ".metadata").read_bytes(), _INDEX)
    entries = index.state_dict_metadata.values() if isinstance(index, Metadata) else [None]
    if not all(isinstance(entry, TensorStorageMetadata) for entry in entries):
        raise ValueError(f"{path / '.metadata'} is not the index of a checkpoint of tensors")
    return index


def as_shard(tensor: Tensor, like: Tensor) -> Any:
    """Shard a tensor that all processes hold like another one, without communication."""
    from torch.distributed.tensor import DTensor, Replicate  # noqa: PLC0415  # 0.4 s

    mesh: Any = like.device_mesh  # type: ignore[attr-defined]
    whole = DTensor.from_local(tensor.to(like.device), mesh, [Replicate()] * mesh.ndim, run_check=False)
    return whole.redistribute(mesh, like.placements)  # type: ignore[attr-defined]


def gathered(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor on every process; other tensors are returned unchanged."""
    shard: Any = tensor
    return shard.full_tensor() if is_shard(tensor) else tensor


def local_part(tensor: Tensor) -> Tensor:
    """Return the shard of a tensor that this process holds, without copying; other tensors unchanged."""
    shard: Any = tensor
    return shard.to_local() if is_shard(tensor) else tensor


def is_shard(tensor: Tensor) -> bool:
    """Whether a tensor is sharded (a DTensor)."""
    # importing the class takes 0.4 s, and looking for an attribute that is missing is slow
    return type(tensor) not in (Tensor, nn.Parameter) and hasattr(tensor, "full_tensor")
