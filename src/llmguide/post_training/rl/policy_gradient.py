r"""Policy-gradient formulas that PPO and GRPO share: KL estimates, ratio clipping, masked means.

References: Schulman et al. 2017, arXiv:1707.06347, equation 7 (clipping); Schulman 2020,
http://joschu.net/blog/kl-approx.html (k1, k2, k3); Huang et al. 2024, arXiv:2403.17031 (whitening).

Glossary: ``B`` completions, ``T`` tokens of the longest; masks are True for the tokens of the completions.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from llmguide.arguments import checked

KLKind = Literal["k1", "k2", "k3"]

PerToken = Float[Tensor, "B T"]
Mask = Bool[Tensor, "B T"]

# e^20 is half a billion. No useful ratio is larger, and e^89 overflows float32: then the clipped half of the
# loss is finite, but its gradient is 0 times infinity. float16 overflows at e^12, so ratios are float32.
MAX_LOG_RATIO = 20.0


@checked
def kl_estimate(
    logprobs: Float[Tensor, "*B"], ref_logprobs: Float[Tensor, "*B"], kind: KLKind = "k1"
) -> Float[Tensor, "*B"]:
    r"""Estimate KL(policy || reference model) from one sampled token.

    With $d = \log \pi_0 - \log \pi$ of that token: $k_1 = -d$, $k_2 = d^2 / 2$, $k_3 = e^d - 1 - d$. The
    expectations of $k_1$ and $k_3$ are the KL, that of $k_2$ approximates it while the two models are close.
    Single values of $k_1$ can be negative, and often are near the reference model; $k_2$ and $k_3$ cannot.

    Subtracted from the reward, $k_1$ gives exactly the KL penalty. As a differentiated loss over the policy's
    own samples, the gradient of $k_1$ averages to 0, that of $k_2$ to the gradient of
    KL(policy || reference model), and that of $k_3$ to the gradient of KL(reference model || policy).

    Args:
        logprobs: Log-probability of each token under the policy that sampled it.
        ref_logprobs: Log-probability of each token under the reference model.
        kind: Estimator: ``"k1"``, ``"k2"`` or ``"k3"``.

    Returns:
        One estimate per token, in nats and in float32 or wider; $d$ is capped at 20 in $k_3$.

    >>> from llmguide import kl_estimate
    >>> logprobs, ref_logprobs = torch.tensor([0.5, 0.25]).log(), torch.tensor([0.25, 0.5]).log()
    >>> [kl_estimate(logprobs, ref_logprobs, kind).tolist() for kind in ("k1", "k2", "k3")]  # log 2 = 0.6931
    [[0.6931, -0.6931], [0.2402, 0.2402], [0.1931, 0.3069]]
    """
    d = _difference(ref_logprobs, logprobs)
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
    logprobs: Float[Tensor, "*B"],
    old_logprobs: Float[Tensor, "*B"],
    advantages: Float[Tensor, "*B"],
    *,
    clip_eps: float = 0.2,
    clip_eps_high: float | None = None,
) -> Float[Tensor, "*B"]:
    r"""Compute the clipped surrogate loss of each action.

    It is $-\min(\rho A, \operatorname{clip}(\rho, 1 - \epsilon, 1 + \epsilon') A)$ with the ratio
    $\rho = \pi(a) / \pi_{\text{old}}(a)$. The minimum makes it a one-sided bound: once an action with a
    positive advantage is $1 + \epsilon'$ times as likely as it was, its gradient is 0.

    Args:
        logprobs: Log-probability of each action under the current policy.
        old_logprobs: Log-probability of each action when it was sampled.
        advantages: Advantage of each action.
        clip_eps: Lower clip range $\epsilon$.
        clip_eps_high: Upper clip range $\epsilon'$; None: equal to the lower.

    Returns:
        One loss per action.

    >>> old = torch.zeros(4)
    >>> new, advantages = torch.tensor([2.0, 0.5, 2.0, 0.5]).log(), torch.tensor([1.0, 1.0, -1.0, -1.0])
    >>> clipped_surrogate(new, old, advantages).tolist()
    [-1.2, -0.5, 2.0, 0.8]
    """
    ratio = _difference(logprobs, old_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    bounded = ratio.clamp(1 - clip_eps, 1 + (clip_eps if clip_eps_high is None else clip_eps_high))
    return -torch.minimum(ratio * advantages, bounded * advantages)


@torch.no_grad()
def is_clipped(
    logprobs: Float[Tensor, "*B"],
    old_logprobs: Float[Tensor, "*B"],
    advantages: Float[Tensor, "*B"],
    *,
    clip_eps: float = 0.2,
    clip_eps_high: float | None = None,
) -> Bool[Tensor, "*B"]:
    """Return whether clipping has zeroed each action's gradient; arguments as in `clipped_surrogate`.

    >>> logprobs, advantages = torch.tensor([2.0, 2.0, 1.1]).log(), torch.tensor([1.0, -1.0, 1.0])
    >>> is_clipped(logprobs, torch.zeros(3), advantages).tolist()
    [True, False, False]
    """
    ratio = (logprobs - old_logprobs).exp()
    too_high = (ratio > 1 + (clip_eps if clip_eps_high is None else clip_eps_high)) & (advantages > 0)
    return too_high | ((ratio < 1 - clip_eps) & (advantages < 0))


def masked_mean(values: Float[Tensor, "*B"], mask: Bool[Tensor, "*B"]) -> Float[Tensor, ""]:
    """Average the values where the mask is True; 0 if it is nowhere. Other values, even NaN, have no effect.

    >>> masked_mean(torch.tensor([1.0, 2.0, torch.nan]), torch.tensor([True, True, False])).item()
    1.5
    """
    return zero_masked(values, mask).sum() / mask.sum().clamp(min=1)


def zero_masked(values: Float[Tensor, "*B"], mask: Bool[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Zero masked-out entries first, so that NaN or inf there cannot reach the gradient.

    >>> zero_masked(torch.tensor([2.0, torch.nan]), torch.tensor([True, False])).tolist()
    [2.0, 0.0]
    """
    return values.masked_fill(~mask, 0.0)


def whiten(values: Float[Tensor, "*B"], mask: Bool[Tensor, "*B"] | None = None) -> Float[Tensor, "*B"]:
    """Standardize to mean 0 and variance 1 (with Bessel's correction) over the mask.

    Advantages of any scale then give updates of the same size. Equal values, and a single one, become 0.

    Args:
        values: Values to standardize, such as advantages.
        mask: True for the entries to use; None: all.

    Returns:
        Standardized values, 0 outside the mask.

    >>> whiten(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False])).tolist()  # variance 2
    [-0.7071, 0.7071, 0.0]
    """
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    centered = zero_masked(values - masked_mean(values, mask), mask)
    variance = centered.square().sum() / (mask.sum() - 1).clamp(min=1)
    return centered * (variance + 1e-8).rsqrt()
