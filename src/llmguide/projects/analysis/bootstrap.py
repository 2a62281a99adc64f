"""Confidence intervals of means whose values come in groups, such as documents.

Test examples often come in groups, such as the snippets about one film, and those of a group are right or
wrong together. An interval that treats them as independent is too narrow, so whole groups are resampled.
"""

from collections.abc import Sequence
from math import hypot

import numpy as np

from llmguide.evaluation.metrics import Interval


def cluster_bootstrap_interval(
    values: Sequence[float], groups: Sequence[str], *, n_resamples: int = 5000
) -> Interval:
    """Compute the 95% cluster bootstrap interval of a mean: whole groups are resampled with replacement.

    To compare two systems, give it the differences of their scores on the same examples.

    Args:
        values: Value of each example.
        groups: Name of the group that each example belongs to.
        n_resamples: Number of bootstrap resamples.

    Returns:
        The mean and its bounds.

    Raises:
        ValueError: There are no values, or not as many groups.

    >>> cluster_bootstrap_interval([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"])  # aa, ab, ba, bb
    Interval(score=0.5, low=0.0, high=1.0)
    """
    if not values or len(values) != len(groups):
        raise ValueError(f"{len(values)} values and {len(groups)} groups: give a group for each value")
    _, where = np.unique(np.asarray(groups), return_inverse=True)
    return ratio_bootstrap_interval(
        np.bincount(where, weights=values).tolist(), np.bincount(where).tolist(), n_resamples=n_resamples
    )


def ratio_bootstrap_interval(
    sums: Sequence[float], sizes: Sequence[int], *, n_resamples: int = 5000
) -> Interval:
    """Compute the 95% bootstrap interval of a ratio of totals, such as the bits per byte of documents.

    Args:
        sums: Numerator of each unit, such as the bits of a document, or the difference of two models' bits.
        sizes: Denominator of each unit, such as its bytes, at least 1.
        n_resamples: Number of bootstrap resamples of the units.

    Returns:
        The ratio of the totals and its bounds.

    >>> ratio_bootstrap_interval([2.0, 6.0], [2, 2])
    Interval(score=2.0, low=1.0, high=3.0)
    """
    totals, counts = np.asarray(sums), np.asarray(sizes)
    resampled = np.random.default_rng(0).integers(0, len(counts), (n_resamples, len(counts)))
    ratios = totals[resampled].sum(1) / counts[resampled].sum(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Interval(float(totals.sum() / counts.sum()), float(low), float(high))


def independent_difference(first: Interval, second: Interval) -> Interval:
    r"""Compute the interval of the difference of two scores, as if they were of independent examples.

    With scores $a$ and $b$ and the bounds $l$ and $u$ of each, it goes from
    $a - b - \sqrt{(a - l_a)^2 + (u_b - b)^2}$ to $a - b + \sqrt{(u_a - a)^2 + (b - l_b)^2}$.

    Use it where only the two intervals are known. If the values of both on the same examples are known, use
    `cluster_bootstrap_interval` of their differences.

    Source: Zou & Donner 2008, "Construction of confidence limits about effect measures: a general approach".

    Args:
        first: Score with its interval.
        second: Score that is subtracted, with its interval at the same confidence level.

    Returns:
        The difference and its bounds.

    >>> independent_difference(Interval(9.0, 6.0, 12.0), Interval(4.0, 0.0, 8.0))
    Interval(score=5.0, low=0.0, high=10.0)
    """
    score = first.score - second.score
    low = score - hypot(first.score - first.low, second.high - second.score)
    high = score + hypot(first.high - first.score, second.score - second.low)
    return Interval(score, low, high)
