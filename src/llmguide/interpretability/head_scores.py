"""Score attention heads by the pattern they follow: previous token, induction, first token.

A score is the mean attention weight on the keys of the pattern, from 0 to 1. Induction heads are measured on
random tokens that are repeated, because nothing but the repetition can predict them.

References: Olsson et al. 2022, arXiv:2209.11895 (prefix matching on repeated random tokens); Xiao et al.
2023, arXiv:2309.17453, section 3.1 (attention sinks).

Glossary: ``L`` layers, ``B`` batch, ``H`` heads, ``T`` tokens.

Leaves out: whether a head copies what it attends to, the second half of the definition of an induction head.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.arguments import checked

Patterns = Float[Tensor, "L B H T T"]
Scores = Float[Tensor, "L H"]


def repeated_random_tokens(
    vocab_size: int, length: int, n_rows: int, *, seed: int = 0
) -> Int[Tensor, "n_rows T"]:
    """Sample rows of ``length`` random tokens, each followed by its own repetition.

    Args:
        vocab_size: Ids are sampled uniformly from 0 to ``vocab_size`` - 1.
        length: Tokens of one copy; T is twice as many.
        n_rows: Rows to sample.
        seed: Seed of the random generator.

    >>> rows = repeated_random_tokens(50, length=3, n_rows=2)
    >>> rows.shape, torch.equal(rows[:, :3], rows[:, 3:])
    (torch.Size([2, 6]), True)
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocab_size, (n_rows, length), generator=generator)
    return torch.cat([ids, ids], dim=1)


def previous_token_scores(patterns: Patterns) -> Scores:
    """Average each head's weight on the token just before the query, over all queries but the first."""
    return patterns.diagonal(-1, -2, -1).mean(dim=(1, 3))


@checked
def induction_scores(patterns: Patterns, length: int) -> Scores:
    """Average each head's weight on the token after the previous occurrence of the current token.

    Args:
        patterns: Attention weights on `repeated_random_tokens`.
        length: Tokens of one copy. The queries are those of the second copy, and the key is length - 1 back.

    >>> from llmguide import induction_scores
    >>> weights = torch.zeros(1, 1, 1, 6, 6)
    >>> weights[..., 3, 1] = weights[..., 4, 2] = 1.0  # two of the three queries of the second copy
    >>> induction_scores(weights, length=3)
    tensor([[0.6667]])
    """
    return patterns.diagonal(1 - length, -2, -1)[..., 1:].mean(dim=(1, 3))


def first_token_scores(patterns: Patterns) -> Scores:
    """Average each head's weight on the first token (an attention sink), over all queries but the first."""
    return patterns[..., 1:, 0].mean(dim=(1, 3))
