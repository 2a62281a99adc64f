"""Read or replace tensors inside a forward pass, through forward hooks on a model's modules.

Leaves out: caching edits, and edits of gradients.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn

from llmguide.models.transformer_decoder import TransformerDecoder
from llmguide.nn.block import Block

Edit = Callable[[Tensor], Tensor | None]  # returns the replacement, or None to leave the tensor as it is


@contextmanager
def edit_input(module: nn.Module, edit: Edit) -> Iterator[None]:
    """Apply an edit to the first argument of a module while the context is open.

    >>> import torch
    >>> layer = nn.ReLU()
    >>> with edit_input(layer, lambda x: x + 2):
    ...     layer(torch.tensor([-1.0]))
    tensor([1.])
    >>> layer(torch.tensor([-1.0]))
    tensor([0.])
    """

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        replacement = edit(args[0])
        return None if replacement is None else (replacement, *args[1:])

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def edit_output(module: nn.Module, edit: Edit) -> Iterator[None]:
    """Apply an edit to the output of a module, one tensor, while the context is open.

    >>> import torch
    >>> layer, outputs = nn.ReLU(), []
    >>> with edit_output(layer, outputs.append):  # append returns None: only read
    ...     layer(torch.tensor([3.0]))
    tensor([3.])
    >>> outputs
    [tensor([3.])]
    """
    handle = module.register_forward_hook(lambda _, args, output: edit(output))
    try:
        yield
    finally:
        handle.remove()


def blocks_of(model: TransformerDecoder) -> list[Block]:
    """List the blocks of a decoder."""
    return [cast(Block, block) for block in model.blocks]


def residual_sites(model: TransformerDecoder) -> list[nn.Module]:
    """List the modules whose inputs are the residual stream: every block, then the final norm.

    Entry l takes the stream after l blocks; entry 0 takes the embeddings.
    """
    return [*model.blocks, model.final_norm]
