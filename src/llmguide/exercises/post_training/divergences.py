"""Exercises of divergences: KL, its estimate from samples, and how far best-of-n moves a policy."""

import math

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.differentiation import cut_off, with_gradient
from llmguide.post_training.rl.policy_gradient import kl_estimate
from llmguide.post_training.toy import frontier


def _kl(logits: Tensor, ref_logits: Tensor) -> Tensor:
    p, q = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def _kl_probes() -> list[Arguments]:
    unlike = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[60.0, 0.0, -60.0]])  # a softmax rounds to 0
    return [
        (noise(10, 3, 5), noise(11, 3, 5)),
        (2 * noise(12, 1, 4), noise(13, 1, 4)),
        (noise(16, 2, 3, 4), noise(17, 2, 3, 4)),
        unlike,
    ]


def _k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    return kl_estimate(logp, ref_logp, "k3")


def _k3_probes() -> list[Arguments]:
    return [(noise(14, 4) - 2, noise(15, 4) - 2), (torch.tensor([-1.0, -14.0]), torch.tensor([-13.0, -2.0]))]


def best_of_n(probs: Tensor, rewards: Tensor, n: int) -> tuple[Tensor, float]:
    """Compute the distribution of best-of-n sampling, and its KL divergence from the sampled one."""
    best = frontier.best_of_n(probs.log()[None], rewards[None], n)[0].exp()
    return best, _divergence(best, probs)


def _divergence(p: Tensor, q: Tensor) -> float:
    return float((p * (p / q).log()).sum())


def _by_rank(probs: Tensor, rewards: Tensor, n: int) -> tuple[Tensor, float]:
    """Break ties in favor of what comes last."""
    steps = torch.arange(len(probs)) * 1e-4
    return best_of_n(probs, rewards + steps, n)


def _among_the_samples(probs: Tensor, rewards: Tensor, n: int) -> tuple[Tensor, float]:
    present = 1 - (1 - probs) ** n
    best = present / present.sum()
    return best, _divergence(best, probs)


def _best_probes() -> list[Arguments]:
    return [
        (torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.0, 2.0, 1.0]), 4),
        (torch.tensor([0.1, 0.4, 0.2, 0.3]), torch.tensor([1.0, -1.0, 1.0, 0.5]), 3),
        (torch.tensor([0.6, 0.4]), torch.tensor([1.0, 1.0]), 5),
    ]


EXERCISES = (
    Exercise(
        "kl",
        "kl(logits, ref_logits): KL(policy || reference) in nats of each row, from the logits (..., V) of "
        "both. The result (...) is differentiable.",
        _kl,
        _kl_probes,
        (
            Mistake(
                "KL the other way around",
                "KL(reference || policy) is computed",
                "The average is over what the policy would write. F.kl_div(input, target) has the target "
                "first in the formula.",
                lambda logits, ref_logits: _kl(ref_logits, logits),
            ),
            Mistake(
                "KL sign",
                "the divergence is negative",
                "Take log policy minus log reference. A KL divergence is never below 0.",
                lambda logits, ref_logits: -_kl(logits, ref_logits),
            ),
            Mistake(
                "mean over the vocabulary",
                "the terms are averaged over the vocabulary",
                "It is an expectation: weighted by the probabilities and summed. F.kl_div's "
                "reduction='mean' is a trap.",
                lambda logits, ref_logits: _kl(logits, ref_logits) / logits.shape[-1],
            ),
            Mistake(
                "not weighted",
                "the log-ratios are summed without the probabilities of the policy",
                "Weight each by the probability that the policy gives the token.",
                lambda logits, ref_logits: (logits.log_softmax(-1) - ref_logits.log_softmax(-1)).sum(-1),
            ),
            Mistake(
                "underflow",
                "softmax rounds a small probability to 0 before its logarithm is taken, so that the "
                "divergence is infinite",
                "Use log_softmax, which computes both in one step.",
                lambda logits, ref_logits: (
                    logits.softmax(-1) * (logits.log_softmax(-1) - ref_logits.softmax(-1).log())
                ).sum(-1),
            ),
            Mistake(
                "cross-entropy",
                "the cross-entropy of the two is computed",
                "Subtract the entropy of the policy: between equal distributions, the KL divergence is 0.",
                lambda logits, ref_logits: -(logits.softmax(-1) * ref_logits.log_softmax(-1)).sum(-1),
            ),
            Mistake(
                "logits for log-probabilities",
                "the logits are subtracted as they are",
                "Logits differ from log-probabilities by a constant of each row. Apply log_softmax to both.",
                lambda logits, ref_logits: (logits.softmax(-1) * (logits - ref_logits)).sum(-1),
            ),
            Mistake(
                "bits for nats",
                "the divergence is in bits",
                "A divergence in nats uses the natural logarithm.",
                lambda logits, ref_logits: _kl(logits, ref_logits) / math.log(2),
            ),
            cut_off(_kl),
        ),
        (
            "A KL divergence is an expectation. Under which of the two distributions?",
            "Turn both logits into log-probabilities.",
            "p * (log p - log q), summed over the vocabulary, where p is the policy.",
        ),
        level="warm-up",
        minutes=5,
        observe=with_gradient(_kl, 0),
    ),
    Exercise(
        "kl-estimate",
        "k3(logp, ref_logp): the estimate k3 of KL(policy || reference) for each token, from the "
        "log-probabilities of tokens that the policy sampled. It starts from the log-ratio of policy and "
        "reference, and adds a term whose mean is 0 under the policy, so that the sum is never negative: the "
        "ratio of the probabilities, reference to policy, minus 1. The result is differentiable.",
        _k3,
        _k3_probes,
        (
            Mistake(
                "KL sign",
                "policy and reference model are swapped",
                "The log-ratio is logp - ref_logp, and the ratio whose mean is 1 is exp(ref_logp - logp), "
                "because the policy sampled the tokens.",
                lambda logp, ref_logp: _k3(ref_logp, logp),
            ),
            Mistake(
                "k1 instead of k3",
                "only the log-ratio is returned, which is often negative",
                "Add exp(ref_logp - logp) - 1, whose mean is 0.",
                kl_estimate,
            ),
            Mistake(
                "1 forgotten",
                "1 is not subtracted",
                "Where both log-probabilities are equal, the estimate is 0.",
                lambda logp, ref_logp: _k3(logp, ref_logp) + 1,
            ),
            Mistake(
                "k2 instead of k3",
                "half the square of the log-ratio is returned",
                "This is k2, whose mean is not the divergence. Add the ratio minus 1 to the log-ratio.",
                lambda logp, ref_logp: (logp - ref_logp).square() / 2,
            ),
            Mistake(
                "averaged",
                "the mean over the tokens is returned",
                "Return an estimate for each token.",
                lambda logp, ref_logp: _k3(logp, ref_logp).mean(),
            ),
            cut_off(_k3),
        ),
        (
            "The log-ratio of policy and reference averages to the divergence, but can be negative.",
            "Under the policy, the ratio reference / policy has the mean 1. Subtract 1 and add the rest to "
            "the log-ratio.",
            "With d = ref_logp - logp this is exp(d) - 1 - d. torch.expm1(d) is exp(d) - 1 without loss of "
            "digits.",
        ),
        level="medium",
        minutes=10,
        observe=with_gradient(_k3, 0),
    ),
    Exercise(
        "best-of-n",
        "best_of_n(probs, rewards, n) returns what best-of-n sampling does to a policy. The policy has N "
        "possible completions with probabilities `probs` (N,), none of them 0, and `rewards` (N,). Best-of-n "
        "samples n completions independently and returns the one with the largest reward. If several samples "
        "have the largest reward, it returns one of these, each with the same probability. Return a tuple: "
        "the probabilities (N,) of what is returned, computed exactly and not by simulation, and their KL "
        "divergence from `probs` in nats, a float.",
        best_of_n,
        _best_probes,
        (
            Mistake(
                "in the sample is enough",
                "a completion is weighted by the probability that it is among the n samples",
                "It also has to beat the other samples.",
                _among_the_samples,
            ),
            Mistake(
                "ties broken by the order",
                "of equal rewards, the completion that comes last wins",
                "Completions with equal rewards share the probability of their reward, in proportion to "
                "`probs`.",
                _by_rank,
            ),
            Mistake(
                "formula for the KL divergence",
                "the KL divergence is log n - (n - 1) / n",
                "This formula holds in the limit of many completions without ties. For few, it is only an "
                "upper bound.",
                lambda probs, rewards, n: (best_of_n(probs, rewards, n)[0], frontier.best_of_n_kl(n)),
            ),
            Mistake(
                "KL the other way around",
                "the divergence is that of `probs` from the result",
                "Average log(result / probs) over the result.",
                lambda probs, rewards, n: (
                    best_of_n(probs, rewards, n)[0],
                    _divergence(probs, best_of_n(probs, rewards, n)[0]),
                ),
            ),
            Mistake(
                "worst of n",
                "the sample with the smallest reward is returned",
                "All n samples have at most reward r with probability F(r)^n.",
                lambda probs, rewards, n: best_of_n(probs, -rewards, n),
            ),
        ),
        (
            "What is the probability that none of n samples has a reward above r?",
            "The probability that the largest reward is exactly r is a difference of two such numbers: at "
            "most r, and less than r.",
            "Share this probability among the completions whose reward is r, in proportion to `probs`. The "
            "divergence is the sum of p log(p / q) over the completions.",
        ),
        level="medium",
        minutes=20,
        after="The divergence grows only like log n, while the cost grows like n. This is why best-of-n with "
        "a few samples is a strong baseline for RLHF.",
    ),
)
