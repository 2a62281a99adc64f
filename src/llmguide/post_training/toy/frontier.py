r"""Exact measurements of policies in the tiny world: reward, KL divergence, the frontier, best-of-n sampling.

A policy is its log-probabilities of all completions, so nothing is estimated. The best policy for a reward
$r$ at KL coefficient $\beta$ has a closed form,

$$\max_\pi \; \mathbb{E}_{y \sim \pi}[r(x, y)] - \beta\, \mathrm{KL}(\pi \,\|\, \pi_\text{ref})
\quad\Rightarrow\quad \pi^*(y \mid x) \propto \pi_\text{ref}(y \mid x)\, e^{r(x, y) / \beta}$$

Together, these policies form the frontier: the most reward at each divergence.

References: the closed form (Rafailov et al. 2023, arXiv:2305.18290, appendix A.1); best-of-n and its
divergence (Stiennon et al. 2020, arXiv:2009.01325, appendix G.3; Beirami et al. 2024, arXiv:2401.01879, who
show that the usual formula is an upper bound).

Glossary: ``P`` prompts, ``N`` completions.
"""

from collections.abc import Sequence
from math import exp, log
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from llmguide.post_training.toy.world import World


def expected(logprobs: Float[Tensor, "P N"], reward: Float[Tensor, "P N"]) -> Float[Tensor, ""]:
    """Compute the expected reward of a policy, averaged over prompts.

    >>> expected(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([[4.0, 0.0]])).item()
    1.0
    """
    return (logprobs.exp() * reward).sum(dim=1).mean()


def divergence(logprobs: Float[Tensor, "P N"], reference: Float[Tensor, "P N"]) -> Float[Tensor, ""]:
    r"""Compute the KL divergence of a policy from the reference model, in nats, averaged over prompts.

    >>> divergence(torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.25, 0.75]]).log()).item()  # log 4
    1.3863
    """
    p = logprobs.exp()
    return torch.where(p > 0, p * (logprobs - reference), 0.0).sum(dim=1).mean()


def optimum(
    reference: Float[Tensor, "P N"], reward: Float[Tensor, "P N"], beta: float
) -> Float[Tensor, "P N"]:
    r"""Compute the log-probabilities of the optimal policy, $\pi^* \propto \pi_\text{ref}\, e^{r / \beta}$.

    >>> reference = torch.tensor([[0.5, 0.5]]).log()
    >>> optimum(reference, torch.tensor([[1.0986123, 0.0]]), beta=1.0).exp().tolist()  # 3 to 1
    [[0.75, 0.25]]
    """
    return (reference + reward / beta).log_softmax(dim=1)


def optimum_at(
    reference: Float[Tensor, "P N"], reward: Float[Tensor, "P N"], kl: float
) -> Float[Tensor, "P N"]:
    """Compute the log-probabilities of the optimal policy at a KL divergence.

    Bisection finds the KL coefficient that leads to this divergence.

    Args:
        reference: Log-probabilities of the reference model.
        reward: Reward of each completion.
        kl: KL divergence from the reference model in nats; less than that of the greedy policy.

    >>> reference = torch.tensor([[0.5, 0.5]]).log()
    >>> ideal = optimum_at(reference, torch.tensor([[1.0, 0.0]]), kl=0.1308)  # 0.1308 nats: (0.75, 0.25)
    >>> [round(p, 3) for p in ideal.exp()[0].tolist()]
    [0.75, 0.25]
    """
    log_low, log_high = -7.0, 7.0  # of beta, relative to the largest difference of rewards
    scale = (reward - reward.amin(dim=1, keepdim=True)).max().item()
    for _ in range(40):
        middle = (log_low + log_high) / 2
        ideal = optimum(reference, reward, scale * exp(middle))
        if divergence(ideal, reference) > kl:
            log_low = middle
        else:
            log_high = middle
    return ideal


class Point(NamedTuple):
    """KL divergence and expected rewards of a policy.

    Attributes:
        kl: KL divergence from the reference model, in nats.
        gold: Expected true reward.
        proxy: Expected proxy reward, or expected reward by a reward model.
    """

    kl: float
    gold: float
    proxy: float


def point(
    logprobs: Float[Tensor, "P N"],
    reference: Float[Tensor, "P N"],
    world: World,
    proxy: Float[Tensor, "P N"] | None = None,
) -> Point:
    """Measure a policy exactly; ``proxy`` defaults to the world's own proxy reward."""
    measured = world.proxy if proxy is None else proxy
    return Point(
        divergence(logprobs, reference).item(),
        expected(logprobs, world.gold).item(),
        expected(logprobs, measured).item(),
    )


def frontier(
    reference: Float[Tensor, "P N"],
    reward: Float[Tensor, "P N"],
    betas: Sequence[float],
    world: World,
    proxy: Float[Tensor, "P N"] | None = None,
) -> list[Point]:
    """Measure the optimal policy of a reward for each beta: the curve that methods are compared with."""
    return [point(optimum(reference, reward, beta), reference, world, proxy) for beta in betas]


def best_of_n(
    reference: Float[Tensor, "P N"], reward: Float[Tensor, "P N"], n: int
) -> Float64[Tensor, "P N"]:
    r"""Compute the log-probabilities of best-of-n sampling, with ties broken at random.

    If a sample has at most reward $r$ with probability $F(r)$, the best of n has at most reward $r$ with
    probability $F(r)^n$. Completions of equal reward share that probability in the proportions of the
    reference model.

    Args:
        reference: Log-probabilities of the policy that is sampled from.
        reward: Reward by which the best sample is chosen.
        n: Number of samples.

    Returns:
        Log-probabilities in float64, since powers of numbers close to 1 are subtracted.

    >>> reference = torch.tensor([[0.5, 0.5]]).log()
    >>> best_of_n(reference, torch.tensor([[1.0, 0.0]]), 3).exp().tolist()  # 1 - 1/8
    [[0.875, 0.125]]
    """
    rows = []
    for log_p, r in zip(reference.double(), reward, strict=True):
        levels, level = r.unique(return_inverse=True)
        mass = torch.zeros(len(levels), dtype=torch.float64).index_add(0, level, log_p.exp())
        at_most = mass.cumsum(0) / mass.sum()
        below = torch.cat([at_most.new_zeros(1), at_most[:-1]])
        rows.append(log_p - mass.log()[level] + (at_most**n - below**n).log()[level])
    return torch.stack(rows)


def best_of_n_kl(n: int) -> float:
    r"""Compute the KL divergence of best-of-n if no two rewards are equal: $\log n - (n - 1) / n$.

    It is the limit for many completions, and an upper bound for few, or where rewards tie.

    >>> best_of_n_kl(1), round(best_of_n_kl(4), 4)  # log 4 - 3/4
    (0.0, 0.6363)
    """
    return log(n) - (n - 1) / n
