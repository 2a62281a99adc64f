"""Measure in-context copying: how well a model predicts random tokens when they are repeated.

A row of random tokens cannot be predicted, but its repetition can: a model that attends to the previous
occurrence of the current token and copies the token after it is right from then on. A summary copies names in
this way, and a reply copies words of its instruction. A model that cannot copy can use only what it has
memorized.

References: Olsson et al. 2022, arXiv:2209.11895 (induction heads).

Leaves out: which attention heads do it.
"""

from typing import Any, NamedTuple

import torch

ROWS = 50
LENGTH = 30  # tokens of a row, if two copies fit into the context


class Copying(NamedTuple):
    """Fraction of the tokens of repeated random rows that are predicted correctly.

    Attributes:
        first: Accuracy on the first occurrence; about one over the vocabulary size.
        second: Accuracy on the repetition.
    """

    first: float
    second: float


@torch.inference_mode()
def copying(model: Any) -> Copying:
    """Measure the accuracy of a model on random tokens and their repetition; the tokens are always the same.

    Args:
        model: A decoder of `llmguide.models`, in evaluation mode.
    """
    device = next(model.parameters()).device
    length = min(LENGTH, model.config.context_length // 2)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (ROWS, length), generator=generator).to(device)
    said = model(torch.cat([ids, ids], dim=1)).argmax(-1)
    # the first token of a row cannot be predicted, on either occurrence
    right = [said[:, first : first + length - 1] == ids[:, 1:] for first in (0, length)]
    first, second = (found.float().mean().item() for found in right)
    return Copying(round(first, 4), round(second, 4))
