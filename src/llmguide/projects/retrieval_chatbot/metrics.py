r"""Metrics of a ranking, for questions whose relevant passages are known.

With $g_i = 1$ if the passage at rank $i$ is relevant and $R$ relevant ones in all:

$$\text{recall@}k = \frac{1}{R} \sum_{i \le k} g_i, \qquad
\text{reciprocal rank} = \frac{1}{\min \{i : g_i = 1\}}, \qquad
\text{nDCG@}k = \frac{\sum_{i \le k} g_i / \log_2(i + 1)}{\sum_{i \le \min(k, R)} 1 / \log_2(i + 1)}$$

The mean reciprocal rank over questions is the MRR. Each metric is 0 for a question whose passages are not
found.

References: Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"; the definitions of
trec_eval, with which the tests compare.

Leaves out: graded relevance.
"""

from collections.abc import Collection, Hashable, Sequence
from math import log2


def recall_at(k: int, ranking: Sequence[Hashable], relevant: Collection[Hashable]) -> float:
    """Compute recall at k: the fraction of the relevant items that are among the first k.

    >>> recall_at(2, ["a", "b", "c"], {"b", "c"})
    0.5
    """
    _require(relevant)
    return sum(item in relevant for item in ranking[:k]) / len(relevant)


def reciprocal_rank(ranking: Sequence[Hashable], relevant: Collection[Hashable]) -> float:
    """Compute the reciprocal rank of the first relevant item; 0 if none is ranked.

    >>> reciprocal_rank(["a", "b", "c"], {"b", "c"})
    0.5
    """
    _require(relevant)
    return next((1 / rank for rank, item in enumerate(ranking, start=1) if item in relevant), 0.0)


def ndcg_at(k: int, ranking: Sequence[Hashable], relevant: Collection[Hashable]) -> float:
    """Compute nDCG at k: the discounted cumulative gain of the first k items over that of the ideal ranking.

    >>> round(ndcg_at(3, ["a", "b", "c"], {"b"}), 4)  # 1 / log2(3)
    0.6309
    """
    _require(relevant)
    gain = sum(1 / log2(rank + 1) for rank, item in enumerate(ranking[:k], start=1) if item in relevant)
    return gain / sum(1 / log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))


def _require(relevant: Collection[Hashable]) -> None:
    if not relevant:
        raise ValueError("no item is relevant, so the metric is undefined: leave the question out")
