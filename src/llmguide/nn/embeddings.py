r"""Word vectors: a row of an embedding table for each token, and similarities between rows.

An embedding layer is a table W of shape (V, D); looking a token up is multiplying its one-hot vector with W,
without the multiplications by zero (`embed`). `cosine_similarity`, `nearest` and `analogy` compare rows.
`cooccurrence_vectors` makes a real table from a text in about a second, without training: it counts which
words occur near each other, weights the counts (`ppmi`), and keeps the largest components (singular value
decomposition).

$$\mathrm{PPMI}(w, c) = \max\left(0,\; \ln \frac{P(w, c)}{P(w)\,P(c)}\right)$$

References: Mikolov et al. 2013, arXiv:1301.3781 (vector arithmetic); Levy, Goldberg and Dagan 2015,
doi:10.1162/tacl_a_00134 (PPMI, SVD, and its square root); Linzen 2016, arXiv:1606.07736 (what
the analogy test measures). Leaves out: training by prediction (word2vec), subword vectors.

Glossary: ``V`` vocabulary, ``D`` width of a vector, ``T`` tokens.
"""

from collections import Counter
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def embed(table: Float[Tensor, "V D"], ids: Int[Tensor, "*T"]) -> Float[Tensor, "*T D"]:
    """Look up one row per token: the same as ``one_hot(ids) @ table``, in time that does not depend on V.

    Args:
        table: One vector for each entry of the vocabulary.
        ids: Token ids, 0 to V - 1.

    Returns:
        The vectors of the tokens.

    >>> table = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> embed(table, torch.tensor([2, 0])).tolist()
    [[5.0, 6.0], [1.0, 2.0]]
    >>> (F.one_hot(torch.tensor([2, 0])).float() @ table).tolist()
    [[5.0, 6.0], [1.0, 2.0]]
    """
    return F.embedding(ids, table)


def cosine_similarity(a: Float[Tensor, "*A D"], b: Float[Tensor, "*B D"]) -> Float[Tensor, "*AB"]:
    r"""Compute the cosine similarity of vectors, $\frac{a \cdot b}{|a|\,|b|}$; 0 if one of them is zero.

    Args:
        a: First vectors.
        b: Second vectors; all axes but the last broadcast against those of ``a``.

    Returns:
        Values from -1 (opposite) through 0 (orthogonal) to 1 (same direction).

    >>> cosine_similarity(torch.tensor([3.0, 4.0]), torch.tensor([[4.0, 3.0], [-3.0, -4.0]])).tolist()
    [0.96, -1.0]
    """
    return (_unit(a) * _unit(b)).sum(dim=-1)


def nearest(
    table: Float[Tensor, "V D"], query: Float[Tensor, " D"], k: int, *, exclude: Collection[int] = ()
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """Find the k rows most similar to a vector, by cosine.

    Args:
        table: One vector for each entry of the vocabulary.
        query: Vector to compare with.
        k: Number of rows to return; fewer if the table has fewer that are not excluded.
        exclude: Ids that must not be returned, such as that of the query word itself.

    Returns:
        Ids and their similarities, most similar first.

    >>> table = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> ids, similarities = nearest(table, table[0], k=2, exclude={0})
    >>> ids.tolist(), similarities.tolist()
    ([1, 2], [0.6, 0.0])
    """
    similarities = _unit(table) @ _unit(query)
    left = torch.ones(len(table), dtype=torch.bool, device=table.device)
    left[list(exclude)] = False
    ids = left.nonzero().squeeze(-1)
    best = similarities[ids].topk(min(k, len(ids)))
    return ids[best.indices], best.values


def analogy(
    table: Float[Tensor, "V D"], a: int, b: int, c: int, *, k: int = 1
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """Complete "a is to b as c is to ...": the rows nearest to b - a + c, made of vectors of length 1.

    The three input words are never returned, by the definition of the test. This matters: otherwise the
    answer is often c or b, because b - a is short compared with c (Linzen 2016, arXiv:1606.07736). To see it,
    call ``nearest(table, b - a + c, k)`` with unit vectors.

    Args:
        table: One vector for each entry of the vocabulary.
        a: Id of the first word ("man").
        b: Id of the second word ("king").
        c: Id of the third word ("woman").
        k: Number of candidates to return.

    Returns:
        Ids and similarities, most similar first.

    >>> table = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    >>> analogy(table, a=0, b=1, c=2)[0].tolist()  # (1, 1, 0) is to (1, 0, 0) as (0, 1, 1) is to (0, 0, 1)
    [3]
    """
    unit = _unit(table)
    return nearest(table, unit[b] - unit[a] + unit[c], k, exclude={a, b, c})


def cooccurrence_counts(ids: Int[Tensor, " T"], vocab_size: int, window: int) -> Float[Tensor, "V V"]:
    """Count how often each pair of tokens occurs at most ``window`` positions apart, in either order.

    Args:
        ids: Token ids of the text; ids from ``vocab_size`` on keep their position but are not counted.
        vocab_size: Number of tokens V that are counted; the table has V squared entries.
        window: Largest distance, at least 1.

    Returns:
        A symmetric table of counts.

    >>> cooccurrence_counts(torch.tensor([0, 1, 0, 2]), vocab_size=3, window=1).tolist()
    [[0.0, 2.0, 1.0], [2.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    pairs = torch.zeros(vocab_size**2, dtype=torch.int64)
    for distance in range(1, min(window, len(ids) - 1) + 1):
        left, right = ids[:-distance], ids[distance:]
        known = (left < vocab_size) & (right < vocab_size)
        pairs += torch.bincount(left[known] * vocab_size + right[known], minlength=vocab_size**2)
    counts = pairs.view(vocab_size, vocab_size)
    return (counts + counts.T).float()


def ppmi(counts: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
    r"""Compute positive pointwise mutual information: how much more often than by chance a pair occurs.

    Args:
        counts: Number of times that each word (row) occurs with each context (column).

    Returns:
        $\max(0, \ln \frac{P(w, c)}{P(w) P(c)})$, and 0 for pairs that never occur.

    >>> ppmi(torch.tensor([[0.0, 2.0, 1.0], [2.0, 0.0, 0.0], [1.0, 0.0, 0.0]])).tolist()  # 0 or ln 2
    [[0.0, 0.6931, 0.6931], [0.6931, 0.0, 0.0], [0.6931, 0.0, 0.0]]
    """
    by_chance = counts.sum(dim=1, keepdim=True) * counts.sum(dim=0, keepdim=True)
    ratio = counts * counts.sum() / by_chance.clamp(min=1e-30)
    return ratio.clamp(min=1.0).log()


def cooccurrence_vectors(
    tokens: Sequence[str], window: int = 4, dim: int = 50, *, vocab_size: int = 1000
) -> tuple[list[str], Float[Tensor, "V D"]]:
    r"""Make word vectors from a text: counts, PPMI, and the ``dim`` largest singular values.

    Rows of $U \sqrt{S}$ for $\mathrm{PPMI} \approx U S V^\top$ (the square root: Levy et al. 2015). The
    signs of the columns are arbitrary; similarities do not depend on them.

    Args:
        tokens: Words of the text, in order.
        window: Largest distance of words that count as neighbors.
        dim: Width D of the vectors, at most the number of distinct words.
        vocab_size: Number of most frequent words that get a vector. 1,000 take about a second, and the time
            grows with the cube.

    Returns:
        The words, most frequent first (ties in order of appearance), and their vectors.

    Raises:
        ValueError: If the text has fewer different words than ``dim``.

    >>> text = "a cat sat a dog sat a cat ran a dog ran"  # cat and dog have the same neighbors: a, sat, ran
    >>> words, vectors = cooccurrence_vectors(text.split(), window=1, dim=2)
    >>> words, vectors.shape
    (['a', 'cat', 'sat', 'dog', 'ran'], torch.Size([5, 2]))
    >>> cosine_similarity(vectors[1], vectors[3]).item()
    1.0
    """
    words = [word for word, _ in Counter(tokens).most_common(vocab_size)]
    if dim > len(words):
        raise ValueError(f"dim={dim} but the text has {len(words)} distinct words; use a smaller dim")
    index = {word: i for i, word in enumerate(words)}
    ids = torch.tensor([index.get(token, len(words)) for token in tokens])
    U, S, _ = torch.linalg.svd(ppmi(cooccurrence_counts(ids, len(words), window)))
    return words, U[:, :dim] * S[:dim].sqrt()


def _unit(x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
    """Scale vectors to length 1; zero vectors stay zero."""
    tiny = torch.finfo(x.dtype).tiny
    x = x / x.abs().amax(dim=-1, keepdim=True).clamp(min=tiny)  # prevents overflow of the squares
    return F.normalize(x, dim=-1, eps=tiny)
