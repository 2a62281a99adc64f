r"""Learning-rate schedules: functions from the step to a factor of the peak learning rate.

A warmup, because Adam's first steps are full-size noise; then a decay, because the loss falls further at
small steps.

References: cosine (Loshchilov & Hutter 2016, arXiv:1608.03983); warmup-stable-decay (Hu et al. 2024,
arXiv:2404.06395, section 4) with the square-root cool-down of Hägele et al. 2024, arXiv:2405.18392,
section 3.
"""

from math import cos, pi, sqrt


def constant(step: int, *, n_warmup: int = 0) -> float:
    """Compute the factor of a linear warmup over `n_warmup` steps, then 1.

    Args:
        step: Number of the step, from 1. (At 0, where torch's schedulers start, a warmup gives 0.)
        n_warmup: Number of warmup steps before the peak.

    Returns:
        The factor of the peak learning rate, in [0, 1].

    >>> [constant(step, n_warmup=4) for step in (1, 2, 4, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    return min(1.0, step / n_warmup) if n_warmup else 1.0


def warmup_cosine(step: int, *, n_steps: int, n_warmup: int = 0, floor: float = 0.0) -> float:
    r"""Compute the factor of a linear warmup, then half a cosine from 1 to `floor`, reached at `n_steps`.

    $f + (1 - f)\, (1 + \cos \pi p) / 2$ with $p$ from 0 at the end of the warmup to 1.

    Args:
        step: Number of the step, from 1.
        n_steps: Number of steps of the whole training.
        n_warmup: Number of warmup steps before the peak.
        floor: Final factor $f$; 0.1 for GPT-3 (arXiv:2005.14165, appendix B).

    Returns:
        The factor of the peak learning rate, in [0, 1].

    >>> [warmup_cosine(step, n_steps=8, n_warmup=4, floor=0.5) for step in (2, 4, 6, 8)]
    [0.5, 1.0, 0.75, 0.5]
    """
    if step < n_warmup:
        return step / n_warmup
    progress = _progress(step - n_warmup, n_steps - n_warmup)
    return floor + (1 - floor) * (1 + cos(pi * progress)) / 2


def warmup_stable_decay(
    step: int, *, n_steps: int, n_decay: int, n_warmup: int = 0, floor: float = 0.0
) -> float:
    r"""Compute the factor of a linear warmup, a plateau at 1, and a cool-down of `n_decay` steps to `floor`.

    The cool-down is $f + (1 - f)\,(1 - \sqrt{p})$ with $p$ from 0 to 1. A run can be extended from a
    checkpoint of the plateau, whereas a cosine fixes the end from the start.

    Args:
        step: Number of the step, from 1.
        n_steps: Number of steps of the whole training.
        n_decay: Number of steps of the cool-down; 10% to 20% of all steps is usual.
        n_warmup: Number of warmup steps before the peak.
        floor: Final factor $f$.

    Returns:
        The factor of the peak learning rate, in [0, 1].

    >>> [warmup_stable_decay(step, n_steps=10, n_decay=4, n_warmup=2) for step in (1, 2, 6, 7, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < n_warmup:
        return step / n_warmup
    progress = _progress(step - (n_steps - n_decay), n_decay)
    return floor + (1 - floor) * (1 - sqrt(progress))


def _progress(step: int, n_steps: int) -> float:
    return min(max(step / max(n_steps, 1), 0.0), 1.0)
