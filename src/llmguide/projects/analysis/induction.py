"""Whether a model copies: what it predicts of random tokens that it reads for the second time.

Nothing tells how a row of random tokens goes on, but when it comes again, the first time tells all. A model
that looks back for the token it has just read, and takes what followed, is right from then on. Names in a
summary and the words of an instruction in its reply are copied in this way, and a model that cannot do it
has to have memorized them.

References: Olsson et al. 2022, arXiv:2209.11895 (induction heads).

Leaves out: which heads do it.
"""

from typing import Any, NamedTuple

import torch

ROWS = 50
LENGTH = 30  # tokens of a row, if it fits twice


class Copying(NamedTuple):
    """Share of the tokens of random rows that are predicted.

    Attributes:
        first: When they come for the first time; about one in as many as there are tokens.
        second: When they come again.
    """

    first: float
    second: float


@torch.inference_mode()
def copying(model: Any) -> Copying:
    """Let a model read random tokens twice, always the same ones.

    Args:
        model: A decoder of `llmguide.models`, in evaluation mode.
    """
    device = next(model.parameters()).device
    length = min(LENGTH, model.config.context_length // 2)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (ROWS, length), generator=generator).to(device)
    said = model(torch.cat([ids, ids], dim=1)).argmax(-1)
    # the first token of a row cannot be predicted in either of its times
    right = [said[:, first : first + length - 1] == ids[:, 1:] for first in (0, length)]
    first, second = (found.float().mean().item() for found in right)
    return Copying(round(first, 4), round(second, 4))
