r"""Curriculum learning: sample examples from easy to hard, by a competence schedule.

Of $N$ examples sorted from easy to hard, sample number $i$ of $n$ is one of the easiest $c_i N$, where

$$c_i = \min\Big(1,\; c_0 + (1 - c_0) \frac{i}{w n}\Big)$$

rises from $c_0$ to 1 over the first fraction $w$ of the samples; after that all examples are equally likely.
With $c_0 = 1$ sampling is uniform, so both orders can be compared at the same number of samples.

References: Bengio et al. 2009, "Curriculum learning" (ICML); Platanios et al. 2019, arXiv:1903.09848 (the
schedule, there called competence; linear).

Leaves out: schedules that follow the loss of the model in training.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

from llmguide.data.tokens.windows import Batch
from llmguide.post_training.chat import TokenizedChat
from llmguide.post_training.sft import padded, shifted

Item = TypeVar("Item")


def competence(i: int, n: int, *, start: float, warmup: float) -> float:
    """Compute the competence: the fraction of the examples, the easiest, that sample `i` of `n` comes from.

    >>> [competence(i, 8, start=0.2, warmup=0.5) for i in (0, 2, 4, 7)]
    [0.2, 0.6, 1.0, 1.0]
    """
    return min(1.0, start + (1 - start) * i / (warmup * n))


def paced(
    from_easy: Sequence[Item], n: int, *, seed: int, start: float = 0.2, warmup: float = 0.5
) -> list[Item]:
    """Sample examples, easy ones first.

    Args:
        from_easy: Examples, sorted from easy to hard.
        n: Number of samples, with replacement.
        seed: Seed of the random samples.
        start: Fraction of the examples in use at the start, above 0; 1: uniform sampling.
        warmup: Fraction of the samples after which all examples are in use.

    Raises:
        ValueError: There are no examples, or a fraction is not above 0 and at most 1.

    >>> paced("abcdefghij", 5, seed=0, start=0.1, warmup=1.0)[0]
    'a'
    """
    if not from_easy or not 0 < start <= 1 or not 0 < warmup <= 1:
        raise ValueError(
            f"{len(from_easy)} examples, start={start}, warmup={warmup}: give examples, and fractions "
            "above 0 and at most 1"
        )
    draw = random.Random(seed)
    sizes = (competence(i, n, start=start, warmup=warmup) * len(from_easy) for i in range(n))
    return [from_easy[draw.randrange(max(1, round(size)))] for size in sizes]


class InOrder:
    """Examples in the order given, repeated from the start, as training data for `train`.

    >>> from llmguide.post_training.sft import completion
    >>> InOrder([completion([1], [2]), completion([3], [4])]).batch(1, 2).inputs.tolist()
    [[3], [1]]
    """

    def __init__(self, examples: Sequence[TokenizedChat]):
        self.examples = [shifted(example) for example in examples]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.examples)

    def batch(self, first: int, size: int) -> Batch:
        """Return the examples ``first`` to ``first + size - 1``, one a row."""
        return padded([[self.examples[i % len(self)]] for i in range(first, first + size)])
