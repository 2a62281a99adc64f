r"""Nearest tokens: compare a vector with the rows of the embedding matrix or of the output head.

$$\cos(x, w_t) = \frac{x \cdot w_t}{\lVert x \rVert \lVert w_t \rVert}$$

Reference: Mikolov et al. 2013, arXiv:1301.3781 (nearest words by cosine similarity).

Glossary: ``V`` vocabulary, ``D`` model width.

Leaves out: centering the rows, which matters where they share a large common component.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.arguments import checked


@torch.no_grad()
@checked
def nearest_tokens(
    vectors: Float[Tensor, "*batch D"], rows: Float[Tensor, "V D"], *, n: int
) -> tuple[Float[Tensor, "*batch n"], Int[Tensor, "*batch n"]]:
    """Find the tokens whose rows have the largest cosine similarity with a vector.

    Args:
        vectors: Embeddings, residual vectors or other directions.
        rows: One row per token, such as ``model.tokens.weight`` or the weight of an untied output head.
        n: Tokens to return, 1 to V.

    Returns:
        Cosine similarities in descending order, and the ids of their tokens. The nearest token of an
        embedding is the token itself.

    >>> from llmguide import nearest_tokens
    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    >>> scores, ids = nearest_tokens(torch.tensor([5.0, 0.0]), rows, n=2)
    >>> ids.tolist(), [round(score, 4) for score in scores.tolist()]
    ([0, 2], [1.0, 0.7071])
    """
    scores, ids = (F.normalize(vectors, dim=-1) @ F.normalize(rows, dim=-1).T).topk(n, dim=-1)
    return scores, ids
