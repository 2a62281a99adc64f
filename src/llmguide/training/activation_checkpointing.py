"""Activation checkpointing, which saves memory, and compilation, which saves time, of a model's blocks.

Both replace the forward pass of the blocks during training and leave weights, names and checkpoints
unchanged. All blocks have one shape, so compiling one compiles all; evaluation and sampling run the plain
blocks.

References: activation checkpointing (Chen et al. 2016, arXiv:1604.06174); regional compilation (PyTorch
tutorial "Reducing torch.compile cold start compilation time with regional compilation").
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def training_blocks(
    model: nn.Module, *, activation_checkpointing: bool = False, compiled: bool = False
) -> Iterator[None]:
    """Run the blocks of a model with activation checkpointing, or compiled, where gradients are computed.

    Args:
        model: Model whose blocks are the modules in lists whose name ends with ``blocks``.
        activation_checkpointing: Whether to store only the input of each block, and to recompute its other
            activations in the backward pass. This costs about a third more computation.
        compiled: Whether to compile the blocks with `torch.compile`; without a compiler, warn and run them
            uncompiled.

    Raises:
        ValueError: The model has no blocks.

    >>> from llmguide.config.model_config import ModelConfig
    >>> from llmguide.models import build
    >>> model = build(ModelConfig(vocab_size=5, context_length=4, n_layers=2, d_model=4, n_heads=1))
    >>> with training_blocks(model, activation_checkpointing=True):
    ...     model(torch.tensor([[1, 2]])).shape
    torch.Size([1, 2, 5])
    """
    compiled = compiled and _can_compile(next(model.parameters()).device)
    blocks = find_blocks(model) if activation_checkpointing or compiled else []
    for block in blocks:
        training: Callable[..., Any] = block.forward
        if activation_checkpointing:
            training = partial(checkpoint, training, use_reentrant=False)
        if compiled:
            training = torch.compile(training)
        block.forward = partial(_forward, block.forward, training)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # restores the method of the class


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the modules in lists whose name ends with ``blocks``.

    Raises:
        ValueError: There is no such list.
    """
    lists = [m for name, m in model.named_modules() if name.endswith("blocks")]
    blocks = [block for each in lists if isinstance(each, nn.ModuleList) for block in each]
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no list of modules named '...blocks'")
    return blocks


def _forward(plain: Callable[..., Any], training: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return (training if torch.is_grad_enabled() else plain)(*args, **options)


def _can_compile(device: torch.device) -> bool:
    try:
        torch.compile(torch.neg)(torch.zeros(2, device=device))
    except Exception as error:  # a missing compiler raises many kinds of errors
        warnings.warn(f"torch.compile does not work here ({error!r:.200}); continuing without", stacklevel=4)
        return False
    return True
