r"""Baselines of a preference model, and a confidence interval for its accuracy.

Two baselines: the rule that the longer text is better, and a Bradley-Terry model on words, whose reward is a
sum of learned weights, one for each word and word pair,

$$r(y) = \sum_{w \in y} \theta_w, \qquad
\min_\theta \sum_i -\log \sigma\big(r(y_i^+) - r(y_i^-)\big) + \tfrac{\lambda}{2} \lVert \theta \rVert^2$$

The upper reference is human agreement: how often a second panel agrees with the first.

Results of pairs that share a text are correlated, so the interval of independent trials (Wilson's) is too
narrow for them. `accuracy_interval` resamples texts instead of pairs: text $t$ is sampled $n_t$ times, and a
pair has weight $n_a n_b$. This interval is conservative (Owen 2007).

References: Bradley & Terry 1952; bootstrap of data with two crossed factors (Owen 2007, "The pigeonhole
bootstrap", arXiv:0712.1111).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import nan
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from llmguide.evaluation.metrics import Interval
from llmguide.post_training.datasets import TextPair

Scorer = Callable[[str], float]
_WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


def verdicts(pairs: Sequence[TextPair], score: Scorer) -> list[float]:
    """Return whether the chosen text of each pair has the higher score: 1, 0, or 0.5 for a tie.

    >>> verdicts([TextPair([], "good", "bad", ("a", "b"))], len)  # longer is better
    [1.0]
    """
    return [preferred(score(pair.chosen), score(pair.rejected)) for pair in pairs]


def preferred(chosen: float, rejected: float) -> float:
    """Return 1 if the chosen text has the higher score, 0 if it has the lower, 0.5 for a tie."""
    return 0.5 if chosen == rejected else float(chosen > rejected)


def accuracy_interval(
    right: Sequence[float], units: Sequence[tuple[str, ...]], *, n_resamples: int = 2000
) -> Interval:
    """Compute the accuracy, with a 95% bootstrap interval that accounts for pairs that share texts.

    Args:
        right: Result of each pair: 1, 0 or 0.5.
        units: Names of the units of each pair, such as its two texts, or its conversation.
        n_resamples: Number of bootstrap resamples of the units.

    Returns:
        The accuracy and its bounds.

    Raises:
        ValueError: There are no pairs, or the number of units differs from that of pairs.

    >>> accuracy_interval([1.0, 1.0], [("a", "b"), ("b", "c")])
    Interval(score=1.0, low=1.0, high=1.0)
    """
    if not right or len(right) != len(units):
        raise ValueError(f"{len(right)} verdicts and {len(units)} units: give equally many, and at least one")
    names = {name: i for i, name in enumerate(sorted({name for unit in units for name in unit}))}
    longest = max(map(len, units))
    numbers = np.array(
        [[names[name] for name in unit] + [len(names)] * (longest - len(unit)) for unit in units]
    )
    values, generator = np.asarray(right, dtype=float), np.random.default_rng(0)
    accuracies = np.full(n_resamples, nan)
    for i in range(n_resamples):
        sampled = generator.integers(len(names), size=len(names))
        n_sampled = np.bincount(sampled.astype(np.intp), minlength=len(names))
        weights = np.append(n_sampled, 1)[numbers].prod(axis=1)
        if weights.any():  # a resample of few units may contain no pair
            accuracies[i] = np.average(values, weights=weights)
    low, high = np.nanquantile(accuracies, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def bag_of_words(pairs: Sequence[TextPair], *, penalty: float = 1.0, min_count: int = 2) -> Scorer:
    r"""Fit the Bradley-Terry model on words.

    Args:
        pairs: Training pairs.
        penalty: Weight $\lambda$ of the L2 penalty.
        min_count: Minimum number of texts that a word or word pair must occur in.

    Returns:
        Function from a text to its reward.

    >>> pairs = [TextPair([], "a good film", "a bad film", ("x", "y"))] * 4
    >>> reward = bag_of_words(pairs)
    >>> reward("good") > reward("film") == 0.0 > reward("bad")
    True
    """
    counts = Counter(word for pair in pairs for text in pair[1:3] for word in _words(text))
    place = {word: i for i, word in enumerate(word for word, n in counts.items() if n >= min_count)}
    rows, columns, signs = [], [], []
    for i, pair in enumerate(pairs):
        chosen, rejected = _words(pair.chosen), _words(pair.rejected)
        for words, others, sign in ((chosen, rejected, 1.0), (rejected, chosen, -1.0)):
            known = [place[word] for word in words if word in place and word not in others]  # both: cancels
            rows += [i] * len(known)
            columns += known
            signs += [sign] * len(known)
    row, column = torch.tensor([rows, columns], dtype=torch.long)
    weight = torch.tensor(signs)
    theta = torch.zeros(len(place), requires_grad=True)
    optimizer: Any = torch.optim.LBFGS([theta], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        margins = torch.zeros(len(pairs)).index_add(0, row, theta[column] * weight)
        total: torch.Tensor = -F.logsigmoid(margins).sum() + penalty / 2 * theta.square().sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return total

    if place:  # LBFGS fails without weights
        optimizer.step(loss)
    weights = theta.detach().flatten().tolist()
    return lambda text: sum(weights[place[word]] for word in _words(text) if word in place)


def _words(text: str) -> dict[str, None]:
    """List each word and word pair once, in text order, so that sums round alike in every process."""
    words = _WORD.findall(text.lower())
    return dict.fromkeys([*words, *(f"{a} {b}" for a, b in pairwise(words))])
