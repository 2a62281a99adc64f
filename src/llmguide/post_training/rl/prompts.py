"""Prompts for reinforcement learning: left-padded batches at any position of an endless order.

A prompt is a list or 1-D tensor of token ids, also in a tuple of one, or a dict with ``input_ids`` and, if it
is padded, an ``attention_mask``. A dataset of prompts is a list of them, a 2-D tensor without padding, or a
map-style `torch.utils.data.Dataset`; it is read once and reshuffled in every epoch. A `DataLoader` has
batches of prompts, each a 2-D tensor, also in a tuple or list of one, or a dict with one as ``input_ids``;
they keep the order of the loader, as in `llmguide.training.torch_data`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmguide.data.tokens.packing import in_epochs
from llmguide.training.torch_data import BatchLoader, ItemDataset, LoaderSequences, all_items, is_map_style

Prompt = Sequence[int] | Sequence[Tensor] | Tensor | Mapping[str, Any]
Prompts = Tensor | ItemDataset[Prompt] | BatchLoader


class PromptDataset:
    """Tokenized prompts in an order that is reshuffled every epoch, padded on the left for generation.

    Args:
        prompts: List, 2-D tensor or map-style dataset of prompts in one of the forms above.
        seed: Seed of the per-epoch shuffle.

    Raises:
        TypeError: The prompts are no such dataset, or one has another form.
        ValueError: There is no prompt, or one is empty.

    >>> prompts = PromptDataset([[5, 6], [7]])
    >>> ids, attention_mask = prompts.batch(0, 2)
    >>> sorted(zip(ids.tolist(), attention_mask.tolist()))
    [([0, 7], [False, True]), ([5, 6], [True, True])]
    """

    def __init__(self, prompts: Tensor | ItemDataset[Prompt], *, seed: int = 0):
        fix = "give a list, a 2-D tensor or a map-style Dataset of token ids, or a DataLoader of such batches"
        self.rows = [_prompt_ids(i, prompt) for i, prompt in enumerate(all_items("prompts", prompts, fix))]
        _require_tokens(self.rows)
        self.seed = seed

    def batch(self, first: int, size: int) -> tuple[Int[Tensor, "B T_p"], Bool[Tensor, "B T_p"]]:
        """Return prompts ``first`` to ``first + size - 1`` of the endless order, and their attention mask."""
        return _padded([self.rows[i] for i in in_epochs(first, size, len(self.rows), self.seed).tolist()])


def as_prompts(prompts: Prompts, *, seed: int = 0) -> PromptDataset | LoaderSequences[tuple[Tensor, Tensor]]:
    """Adapt a dataset or a data loader of prompts.

    Args:
        prompts: Prompts in one of the forms above.
        seed: Seed of the order of a dataset, or of a loader that shuffles.

    Returns:
        The prompts, whose ``batch`` gives left-padded ids and their attention mask at any position.

    >>> from torch.utils.data import DataLoader
    >>> loader = DataLoader([{"input_ids": torch.tensor([5, 6])}, {"input_ids": torch.tensor([7, 8])}])
    >>> as_prompts(loader).batch(1, 1)  # batches of one, in order
    (tensor([[7, 8]]), tensor([[True, True]]))
    """
    if not is_map_style(prompts) and isinstance(prompts, BatchLoader):
        return LoaderSequences(prompts, _left_padded_batch, seed=seed)
    return PromptDataset(prompts, seed=seed)


def _left_padded_batch(batch: object) -> tuple[Int[Tensor, "B T_p"], Bool[Tensor, "B T_p"]]:
    """Pad a batch of a data loader on the left, wherever its padding is."""
    fix = "give a 2-D tensor of token ids, or a dict with input_ids and attention_mask"
    ids, attention_mask = _ids_and_mask("a batch of the DataLoader", batch, 2, fix)
    rows = [row[is_token].tolist() for row, is_token in zip(ids, attention_mask, strict=True)]
    _require_tokens(rows)
    return _padded(rows)


def _require_tokens(rows: Sequence[Sequence[int]]) -> None:
    if not rows or not all(rows):
        empty = [i for i, row in enumerate(rows) if not row]
        raise ValueError(f"{len(rows)} prompts, of which {empty} are empty: each needs at least one token")


def _prompt_ids(number: int, prompt: object) -> list[int]:
    """Return the token ids of a prompt, without its padding."""
    fix = "give token ids as a list, a 1-D tensor or a dict with input_ids"
    ids, attention_mask = _ids_and_mask(f"prompt {number}", prompt, 1, fix)
    row: list[int] = ids[attention_mask].tolist()
    return row


def _ids_and_mask(name: str, given: Any, n_axes: int, fix: str) -> tuple[Tensor, Bool[Tensor, "..."]]:
    """Return the token ids and attention mask of a prompt or a batch, which may be in a tuple of one."""
    is_wrapped = isinstance(given, tuple | list) and len(given) == 1 and isinstance(given[0], Tensor)
    value = given[0] if is_wrapped else given
    fields = value if isinstance(value, Mapping) else {"input_ids": value}
    try:
        ids = torch.as_tensor(fields["input_ids"])
        attention_mask = torch.as_tensor(fields.get("attention_mask", torch.ones_like(ids))).bool()
    except (KeyError, TypeError, ValueError, RuntimeError):  # no ids, texts, or rows of several lengths
        ids = attention_mask = torch.empty(())
    if ids.dim() != n_axes or attention_mask.shape != ids.shape or (len(ids) and ids.is_floating_point()):
        shape = f" {tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else ""
        raise TypeError(f"{name} is a {type(value).__name__}{shape}; {fix}")
    return ids, attention_mask


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "B T_p"], Bool[Tensor, "B T_p"]]:
    """Pad prompts on the left, and return their attention mask."""
    lengths = torch.tensor([len(row) for row in rows])
    T_p = int(lengths.max())
    attention_mask = torch.arange(T_p) >= T_p - lengths[:, None]
    ids = torch.zeros(len(rows), T_p, dtype=torch.long)
    ids[attention_mask] = torch.tensor([token for row in rows for token in row])
    return ids, attention_mask
