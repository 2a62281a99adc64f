"""Prompts for reinforcement learning: left-padded batches, reshuffled in every epoch."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmguide.data.tokens.packing import in_epochs


class PromptDataset:
    """Tokenized prompts in an order that is reshuffled every epoch, padded on the left for generation.

    Args:
        rows: Token ids of each prompt.
        seed: Seed of the per-epoch shuffle.

    Raises:
        ValueError: There is no prompt, or one is empty.

    >>> prompts = PromptDataset([[5, 6], [7]])
    >>> ids, attention_mask = prompts.batch(0, 2)
    >>> sorted(zip(ids.tolist(), attention_mask.tolist()))
    [([0, 7], [False, True]), ([5, 6], [True, True])]
    """

    def __init__(self, rows: Sequence[Sequence[int]], *, seed: int = 0):
        if not rows or not all(rows):
            empty = [i for i, row in enumerate(rows) if not row]
            raise ValueError(
                f"{len(rows)} prompts, of which {empty} are empty: each needs at least one token"
            )
        self.rows = rows
        self.seed = seed

    def batch(self, first: int, size: int) -> tuple[Int[Tensor, "B T_p"], Bool[Tensor, "B T_p"]]:
        """Return prompts ``first`` to ``first + size - 1`` of the endless order, and their attention mask."""
        rows = [self.rows[i] for i in in_epochs(first, size, len(self.rows), self.seed).tolist()]
        lengths = torch.tensor([len(row) for row in rows])
        T_p = int(lengths.max())
        attention_mask = torch.arange(T_p) >= T_p - lengths[:, None]
        ids = torch.zeros(size, T_p, dtype=torch.long)
        ids[attention_mask] = torch.tensor([token for row in rows for token in row])
        return ids, attention_mask
