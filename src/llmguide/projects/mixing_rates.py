r"""Mixing ratios: how often each of several data sets of different sizes is sampled.

$$r_m = \frac{\min(n_m, K)^{1/T}}{\sum_j \min(n_j, K)^{1/T}}$$

At temperature $T = 1$ each example is as likely as any other, and a small task is drowned. As $T$ grows the
tasks become equally likely, and the examples of a small one come again and again. The cap $K$ keeps one huge
task from dominating at any temperature.

References: Raffel et al. 2019, arXiv:1910.10683, section 3.5.2.

Leaves out: ratios that are learned during training.
"""

import random
from collections.abc import Mapping, Sequence
from math import inf
from typing import TypeVar

Item = TypeVar("Item")


def mixing_rates(sizes: Mapping[str, int], temperature: float, *, cap: float = inf) -> dict[str, float]:
    """Compute the sampling probability of each data set.

    Args:
        sizes: Number of examples of each data set.
        temperature: Sampling temperature, at least 1; 1: in proportion to the sizes, inf: uniform.
        cap: Largest size that counts, at least 1.

    Returns:
        Probabilities that sum to 1.

    Raises:
        ValueError: A data set is empty, the temperature below 1, or the cap below 1.

    >>> mixing_rates({"large": 900, "small": 100}, 1.0)
    {'large': 0.9, 'small': 0.1}
    >>> mixing_rates({"large": 900, "small": 100}, 2.0)  # 30 to 10
    {'large': 0.75, 'small': 0.25}
    """
    if not sizes or min(sizes.values()) < 1 or not temperature >= 1 or not cap >= 1:
        raise ValueError(
            f"sizes {dict(sizes)}, temperature={temperature} and cap={cap} must all be at least 1"
        )
    weights = {name: min(n, cap) ** (1 / temperature) for name, n in sizes.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def counts(rates: Mapping[str, float], n: int) -> dict[str, int]:
    """Split n samples by probabilities: rounded down, then one more for the largest remainders.

    >>> counts({"a": 0.5, "b": 0.3, "c": 0.2}, 6)  # 3, 1.8, 1.2
    {'a': 3, 'b': 2, 'c': 1}
    """
    whole = {name: int(rate * n) for name, rate in rates.items()}
    by_rest = sorted(rates, key=lambda name: whole[name] - rates[name] * n)
    for name in by_rest[: n - sum(whole.values())]:
        whole[name] += 1
    return whole


def mixed(sources: Mapping[str, Sequence[Item]], rates: Mapping[str, float], n: int, seed: int) -> list[Item]:
    """Sample n examples of several sources by their rates; each source runs through epochs of its own.

    An example is repeated only after all others of its source.

    >>> drawn = mixed({"large": "ABCDEFGH", "small": "xy"}, {"large": 0.5, "small": 0.5}, 8, seed=0)
    >>> len(set(drawn) & set("ABCDEFGH")), drawn.count("x"), drawn.count("y")
    (4, 2, 2)
    """
    draw, found = random.Random(seed), []
    for name, number in counts(rates, n).items():
        taken: list[Item] = []
        while len(taken) < number:
            taken += draw.sample(sources[name], min(len(sources[name]), number - len(taken)))
        found += taken
    draw.shuffle(found)
    return found
