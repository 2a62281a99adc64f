r"""Metrics of completions with confidence intervals: pass@k, win rate, calibration error, ROUGE and BLEU.

A score over $n$ completions is an estimate: 70 right of 100 means, at 95% confidence, between 60% and 78%.
Two models closer than that cannot be told apart. Metrics that run a model are in
`llmguide.evaluation.likelihood`.

References: pass@k (Chen et al. 2021, arXiv:2107.03374, equation 1); Wilson's interval (Wilson 1927, "Probable
inference, the law of succession, and statistical inference"); bootstrap (Efron 1979, "Bootstrap methods:
another look at the jackknife"); calibration (Guo et al. 2017, arXiv:1706.04599, equation 3); ROUGE (Lin 2004,
"ROUGE: a package for automatic evaluation of summaries"); BLEU (Papineni et al. 2002; Post 2018,
arXiv:1804.08771, why only sacrebleu's can be compared).

Leaves out: LLM judges and Elo ratings.
"""

from collections.abc import Sequence
from math import prod, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from llmguide.extras import import_extra


class Interval(NamedTuple):
    """A score with its confidence interval."""

    score: float
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    r"""Estimate pass@k, the probability that at least one of $k$ samples is right, without bias.

    $1 - \binom{n-c}{k} / \binom{n}{k}$, the fraction of all subsets of $k$ samples with a right one. The
    plug-in estimate $1 - (1 - c/n)^k$ is too low. The score of a benchmark is the mean over its problems.

    Source: Chen et al. 2021, equation 1.

    Args:
        n: Number of samples.
        c: Number of right samples, 0 to n.
        k: Number of samples that a user would look at, 1 to n.

    Returns:
        Probability, 0 to 1.

    Raises:
        ValueError: ``c`` or ``k`` is outside its range.

    >>> from llmguide import pass_at_k
    >>> round(pass_at_k(5, 2, 2), 4)  # 3 of the 10 pairs have no right one
    0.7
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"n={n}, c={c}, k={k} must satisfy 0 <= c <= n and 1 <= k <= n")
    return 1.0 - prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def wilson_interval(successes: float, n: int, *, confidence: float = 0.95) -> Interval:
    r"""Compute Wilson's confidence interval of a proportion.

    $(\hat p + z^2/2n \pm z \sqrt{\hat p (1-\hat p)/n + z^2/4n^2}) / (1 + z^2/n)$.

    Unlike $\hat p \pm z \sqrt{\hat p(1-\hat p)/n}$ it stays within 0 and 1, and 10 successes in 10 trials are
    not a certainty.

    Args:
        successes: Number of successes. A tie may count one half, which makes the interval slightly too wide.
        n: Number of independent trials, at least 1.
        confidence: Confidence level, between 0 and 1.

    Returns:
        The proportion and its bounds.

    Raises:
        ValueError: There are no trials, more successes than trials, or ``confidence`` is out of range.

    >>> [round(value, 3) for value in wilson_interval(70, 100)]
    [0.7, 0.604, 0.781]
    """
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"successes={successes} must be between 0 and n={n}, and n at least 1")
    _require_confidence(confidence)
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    p = successes / n
    center, half = p + z2 / (2 * n), sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    low, high = (center - half) / (1 + z2 / n), (center + half) / (1 + z2 / n)
    # rounding could exceed 0 or 1
    return Interval(p, max(0.0, min(low, p)), min(1.0, max(high, p)))


def win_rate(wins: int, losses: int, ties: int = 0, *, confidence: float = 0.95) -> Interval:
    """Compute the fraction of comparisons won, a tie counting one half, with Wilson's interval.

    Args:
        wins: Number of comparisons in which the first of two models was better. Show each pair in both
            orders, or in a random one, because raters and LLM judges favor a position.
        losses: Number of comparisons in which the second model was better.
        ties: Number of the other comparisons.
        confidence: Confidence level, between 0 and 1.

    Returns:
        Win rate; the models differ significantly if its interval leaves out 0.5.

    Raises:
        ValueError: A number is negative, or all are 0.

    >>> [round(value, 3) for value in win_rate(6, 2, ties=2)]  # 7 of 10
    [0.7, 0.397, 0.892]
    """
    if min(wins, losses, ties) < 0:
        raise ValueError(f"wins={wins}, losses={losses} and ties={ties} are counts: none below 0")
    return wilson_interval(wins + ties / 2, wins + losses + ties, confidence=confidence)


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Compute the percentile bootstrap interval of a mean.

    To compare two systems, give it the differences of their scores on the same questions.

    Args:
        values: Independent values, such as one for each question. Below about 30 values the interval is too
            narrow.
        confidence: Confidence level, between 0 and 1.
        n_resamples: Number of bootstrap samples; 10,000 make the bounds steady to about 1% of the width.
        seed: Seed of the bootstrap samples.

    Returns:
        The mean and its bounds.

    Raises:
        ValueError: There are no values or no samples, or ``confidence`` is out of range.

    >>> bootstrap_interval([2.0, 2.0, 2.0])
    Interval(score=2.0, low=2.0, high=2.0)
    """
    if len(values) < 1 or n_resamples < 1:
        raise ValueError(f"{len(values)} values and n_resamples={n_resamples}: both must be at least 1")
    _require_confidence(confidence)
    data, generator = np.asarray(values, dtype=float), np.random.default_rng(seed)
    n_at_once = max(1, 100_000 // len(data))  # all at once could fill the memory
    means: list[float] = []
    while len(means) < n_resamples:
        n = min(n_at_once, n_resamples - len(means))
        means.extend(data[generator.integers(0, len(data), (n, len(data)))].mean(axis=1))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(data.mean()), float(low), float(high))


def expected_calibration_error(
    confidences: Sequence[float], correct: Sequence[bool], *, n_bins: int = 15
) -> float:
    r"""Compute the expected calibration error, the mean gap between confidence and accuracy.

    $\sum_b \frac{n_b}{n} |a_b - c_b|$, where predictions are sorted into bins of equal width by confidence,
    the upper border belonging to a bin; $a_b$ is the accuracy in bin $b$ and $c_b$ the mean confidence. It
    depends on the number of bins, so report that beside it.

    Source: Guo et al. 2017, equation 3; 15 bins as in its table 1.

    Args:
        confidences: Probability that the model gave to each of its predictions, 0 to 1.
        correct: Whether each prediction was right.
        n_bins: Number of bins between 0 and 1, at least 1.

    Returns:
        0 for a calibrated model, at most 1.

    Raises:
        ValueError: The lengths differ, there are no predictions or bins, or a confidence is not a
            probability.

    >>> round(expected_calibration_error([0.9, 0.9, 0.6, 0.6], [True, True, True, False], n_bins=10), 3)
    0.1
    """
    p, hit = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    if p.shape != hit.shape or len(p) < 1 or n_bins < 1:
        raise ValueError(
            f"{len(p)} confidences, {len(hit)} predictions, {n_bins} bins: give as many of the first two"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"confidences from {p.min()} to {p.max()} must be probabilities, 0 to 1")
    bins = np.clip(np.ceil(p * n_bins).astype(int) - 1, 0, n_bins - 1)
    gaps = np.bincount(bins, weights=hit - p, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(p))


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Compute mean ROUGE F-measures, the word overlap with references, by Google's ``rouge-score``.

    Words are stemmed. ROUGE rewards copying and does not notice a wrong fact, so report it beside a trivial
    baseline. Needs ``llmguide[evaluate]``.

    Args:
        predictions: Generated texts.
        references: One reference text for each prediction.

    Returns:
        ``rouge1`` (words), ``rouge2`` (pairs of neighbors) and ``rougeL`` (longest common subsequence).

    Raises:
        ValueError: The lengths differ or are 0.

    >>> rouge(["police kill the gunman"], ["police killed the gunman"])["rougeL"]  # the stems are the same
    1.0
    """
    _require_pairs(predictions, references)
    kinds = ["rouge1", "rouge2", "rougeL"]
    library = import_extra("rouge_score.rouge_scorer", "evaluate", "ROUGE")
    scorer = library.RougeScorer(kinds, use_stemmer=True)
    scores = [scorer.score(target, text) for text, target in zip(predictions, references, strict=True)]
    return {kind: sum(score[kind].fmeasure for score in scores) / len(scores) for kind in kinds}


def bleu(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Compute corpus BLEU, 0 to 100, by sacrebleu with its standard tokenization.

    Needs ``llmguide[evaluate]``.

    Args:
        predictions: Translations by the model.
        references: One reference translation for each prediction.

    Returns:
        The score of the corpus, which is not the mean over sentences.

    Raises:
        ValueError: The lengths differ or are 0.

    >>> round(bleu(["the cat sat on the mat"], ["the cat sat on the mat"]), 6)
    100.0
    """
    _require_pairs(predictions, references)
    library = import_extra("sacrebleu", "evaluate", "BLEU")
    score: float = library.corpus_bleu(list(predictions), [list(references)]).score
    return score


def _require_pairs(predictions: Sequence[str], references: Sequence[str]) -> None:
    if isinstance(predictions, str) or isinstance(references, str):
        raise TypeError("predictions and references must be lists of texts: put a single text into a list")
    if len(predictions) != len(references) or not predictions:
        raise ValueError(
            f"{len(predictions)} predictions and {len(references)} references: give one for each"
        )


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be between 0 and 1")
