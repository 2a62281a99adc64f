"""How the blocks of a model run while it trains: recomputed to save memory, compiled to save time.

Both replace the blocks' forward pass for a while and leave weights, names and checkpoints as they are. All
blocks have one shape, so compiling one compiles all; evaluation and samples run the plain blocks.

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
    """Run the blocks of a model in another way within this context, where it is in training mode.

    Args:
        model: Its blocks are the modules in lists whose name ends with ``blocks``.
        activation_checkpointing: Keep only the input of each block, and compute its other activations
            again in the backward pass. This costs about a third more computation.
        compiled: Run what `torch.compile` makes of them; without a compiler, warn and go on as before.

    Raises:
        ValueError: The model has no blocks.

    >>> from llmguide.config import ModelConfig
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
        block.forward = partial(_forward, block, block.forward, training)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the method of the class shows again


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the modules in lists whose name ends with ``blocks``.

    Raises:
        ValueError: There are none.
    """
    lists = [m for name, m in model.named_modules() if name.endswith("blocks")]
    blocks = [block for each in lists if isinstance(each, nn.ModuleList) for block in each]
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no list of modules named '...blocks' to work on")
    return blocks


def _forward(
    block: nn.Module, plain: Callable[..., Any], training: Callable[..., Any], *args: Any, **options: Any
) -> Any:
    return (training if block.training else plain)(*args, **options)


def _can_compile(device: torch.device) -> bool:
    try:
        torch.compile(torch.neg)(torch.zeros(2, device=device))
    except Exception as error:  # missing compilers show in many ways
        warnings.warn(f"torch.compile does not work here ({error!r:.200}); going on without", stacklevel=4)
        return False
    return True
