"""The part of a model that training changes: what a checkpoint of a run with frozen weights has to hold.

A LoRA run trains a few megabytes beside gigabytes of frozen weights. When it resumes, it reads these from the
base model again. Its checkpoints hold the trained parameters, the buffers, and four numbers of each frozen
parameter, which differ if the run resumes with another base model.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from llmguide.training.sharded_tensors import is_shard

N_SAMPLES = 4  # numbers of each frozen parameter by which it is recognized


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a model without its frozen parameters and constant buffers.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1, bias=False))
    >>> _ = model[0].requires_grad_(False)
    >>> list(trainable_state(model))
    ['1.weight']
    """
    frozen = {name for name, _ in _frozen(model)}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def fingerprint(model: nn.Module) -> dict[str, list[float]]:
    """Return a few numbers of each frozen tensor; sharded ones, which no process holds, are left out."""
    return {name: _samples(tensor) for name, tensor in _frozen(model) if not is_shard(tensor)}


def load_trainable_state(
    model: nn.Module,
    state: dict[str, Any],
    frozen: dict[str, list[float]] | None = None,
    *,
    of: str | Path,
) -> None:
    """Load a result of `trainable_state` into a model that has the same frozen weights.

    Args:
        model: Model to load into, whose frozen weights are in place already.
        state: Tensors by name.
        frozen: Result of `fingerprint` for the model that was saved.
        of: Folder or file of the checkpoint, for the error message.

    Raises:
        ValueError: The frozen weights differ from those of the model that was saved.
        RuntimeError: A tensor is missing or unexpected, or has another shape.
    """
    own = dict(_frozen(model))
    changed = [
        name
        for name, samples in (frozen or {}).items()
        if name in own and not is_shard(own[name]) and _samples(own[name]) != samples
    ]
    if changed:
        raise ValueError(
            f"{of} continues from other frozen weights than the model has ({len(changed)} differ, such as "
            f"{changed[0]}); start from the same base model, or give another folder"
        )
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing := [name for name in missing if name not in own]:
        raise RuntimeError(f"{of} lacks {', '.join(missing[:5])} of the model")
    if unexpected:
        raise RuntimeError(f"{of} holds {', '.join(unexpected[:5])}, which the model does not have")


def _frozen(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad:
            yield name, parameter
    for path, module in model.named_modules(remove_duplicate=False):  # a tied head has two names
        if getattr(module, "has_constant_buffers", False):
            yield from ((f"{path}.{name}".lstrip("."), b) for name, b in module.named_buffers(recurse=False))


def _samples(tensor: Tensor) -> list[float]:
    flat = tensor.detach().reshape(-1)
    last = len(flat) - 1
    return flat[[i * last // (N_SAMPLES - 1) for i in range(N_SAMPLES)]].tolist() if len(flat) else []
