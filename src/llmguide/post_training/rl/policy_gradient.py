r"""The formulas of policy gradients that PPO and GRPO share: estimates of KL, clipping, means over a mask.

References: Schulman et al. 2017, arXiv:1707.06347, equation 7 (clipping); Schulman 2020,
http://joschu.net/blog/kl-approx.html (k1, k2, k3); Huang et al. 2024, arXiv:2403.17031 (whitening).

Glossary: ``B`` answers, ``T`` tokens of the longest; masks are True for the tokens that count.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

KLKind = Literal["k1", "k2", "k3"]
PerToken = Float[Tensor, "B T"]
Mask = Bool[Tensor, "B T"]

# e^20 is half a billion. A ratio beyond it is an accident, and e^89 overflows float32: then the clipped half
# of the loss is finite, but its gradient is 0 times infinity. float16 ends at e^11, so ratios are float32.
MAX_LOG_RATIO = 20.0


def kl_estimate(
    logp: Float[Tensor, "*B"], ref_logp: Float[Tensor, "*B"], kind: KLKind = "k1"
) -> Float[Tensor, "*B"]:
    r"""Estimate KL(policy || reference) from one token that the policy drew.

    With $d = \log \pi_0 - \log \pi$ of that token: $k_1 = -d$, $k_2 = d^2 / 2$, $k_3 = e^d - 1 - d$. The
    means of $k_1$ and $k_3$ are the KL, that of $k_2$ is close to it while the policies are; $k_1$ is
    negative about as often as not, $k_2$ and $k_3$ never are.

    As a reward, $k_1$ prices the KL exactly. As a loss that is differentiated, over the policy's own draws,
    the gradient of $k_1$ averages to 0, that of $k_2$ to the gradient of KL(policy || reference), and that of
    $k_3$ to the gradient of KL(reference || policy).

    Args:
        logp: Log-probability of the token under the policy that drew it.
        ref_logp: Under the reference.
        kind: Which estimate.

    Returns:
        One for each token, in nats and in float32 or wider; $k_3$ goes no further than $d = 20$.

    >>> from llmguide import kl_estimate
    >>> logp, ref_logp = torch.tensor([0.5, 0.25]).log(), torch.tensor([0.25, 0.5]).log()
    >>> [kl_estimate(logp, ref_logp, kind).tolist() for kind in ("k1", "k2", "k3")]  # log 2 = 0.6931
    [[0.6931, -0.6931], [0.2402, 0.2402], [0.1931, 0.3069]]
    """
    d = _difference(ref_logp, logp)
    if kind == "k1":
        return -d
    if kind == "k2":
        return d.square() / 2
    if kind == "k3":
        d = d.clamp(max=MAX_LOG_RATIO)
        return d.expm1() - d
    raise ValueError(f"kind={kind!r} must be one of {', '.join(get_args(KLKind))}")


def _difference(a: Tensor, b: Tensor) -> Tensor:
    return a.to(torch.promote_types(a.dtype, torch.float32)) - b


def clipped_surrogate(
    logp: Float[Tensor, "*B"],
    old_logp: Float[Tensor, "*B"],
    advantages: Float[Tensor, "*B"],
    *,
    clip_eps: float = 0.2,
    clip_eps_high: float | None = None,
) -> Float[Tensor, "*B"]:
    r"""Loss of each action, $-\min(\rho A, \operatorname{clip}(\rho, 1 - \epsilon, 1 + \epsilon') A)$.

    $\rho = \pi(a) / \pi_{\text{old}}(a)$. The minimum makes it a one-sided bound: once an action with a
    positive advantage is $1 + \epsilon'$ times as likely as it was, there is nothing more to gain.

    Args:
        logp: Log-probability now.
        old_logp: When the action was taken.
        advantages: How much better it was than expected.
        clip_eps: $\epsilon$.
        clip_eps_high: $\epsilon'$, where it differs.

    Returns:
        Losses.

    >>> old = torch.zeros(4)
    >>> logp, advantages = torch.tensor([2.0, 0.5, 2.0, 0.5]).log(), torch.tensor([1.0, 1.0, -1.0, -1.0])
    >>> clipped_surrogate(logp, old, advantages).tolist()
    [-1.2, -0.5, 2.0, 0.8]
    """
    ratio = _difference(logp, old_logp).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    bounded = ratio.clamp(1 - clip_eps, 1 + (clip_eps if clip_eps_high is None else clip_eps_high))
    return -torch.minimum(ratio * advantages, bounded * advantages)


@torch.no_grad()
def is_clipped(
    logp: Float[Tensor, "*B"],
    old_logp: Float[Tensor, "*B"],
    advantages: Float[Tensor, "*B"],
    *,
    clip_eps: float = 0.2,
    clip_eps_high: float | None = None,
) -> Bool[Tensor, "*B"]:
    """Whether the clip of `clipped_surrogate`, whose arguments these are, has stopped an action's gradient.

    >>> logp, advantages = torch.tensor([2.0, 2.0, 1.1]).log(), torch.tensor([1.0, -1.0, 1.0])
    >>> is_clipped(logp, torch.zeros(3), advantages).tolist()
    [True, False, False]
    """
    ratio = (logp - old_logp).exp()
    too_high = (ratio > 1 + (clip_eps if clip_eps_high is None else clip_eps_high)) & (advantages > 0)
    return too_high | ((ratio < 1 - clip_eps) & (advantages < 0))


def masked_mean(values: Float[Tensor, "*B"], mask: Bool[Tensor, "*B"]) -> Float[Tensor, ""]:
    """Mean where the mask is True, 0 if it is nowhere; what stands elsewhere, NaN included, has no effect.

    >>> masked_mean(torch.tensor([1.0, 2.0, torch.nan]), torch.tensor([True, True, False])).item()
    1.5
    """
    return zero_masked(values, mask).sum() / mask.sum().clamp(min=1)


def zero_masked(values: Float[Tensor, "*B"], mask: Bool[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Put 0 outside the mask, before anything is computed: what is no number there would taint gradients.

    >>> zero_masked(torch.tensor([2.0, torch.nan]), torch.tensor([True, False])).tolist()
    [2.0, 0.0]
    """
    return values.masked_fill(~mask, 0.0)


def whiten(values: Float[Tensor, "*B"], mask: Bool[Tensor, "*B"] | None = None) -> Float[Tensor, "*B"]:
    """Shift and scale to mean 0 and variance 1 (with Bessel's correction) over the mask.

    Advantages of any scale then give steps of the same size. Equal values, and a single one, become 0.

    Args:
        values: Such as advantages.
        mask: Those that count; None: all.

    Returns:
        Whitened values, 0 outside the mask.

    >>> whiten(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])).tolist()  # variance 2
    [-0.7071, 0.7071, 0.0]
    """
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    centered = zero_masked(values - masked_mean(values, mask), mask)
    variance = centered.square().sum() / (mask.sum() - 1).clamp(min=1)
    return centered * (variance + 1e-8).rsqrt()
