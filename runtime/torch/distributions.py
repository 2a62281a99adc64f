"""Distributions: samples, log-probabilities, entropies and KL divergences."""

from math import log, pi

import torch
from torch import dtypes
from torch.attributes import Size
from torch.refusal import refusal
from torch.tensor import Tensor

__all__ = ["Bernoulli", "Categorical", "Distribution", "Normal", "kl_divergence"]


class Distribution:
    """What all have.

    Attributes:
        batch_shape: Shape of the parameters without the axis of the outcomes.
        event_shape: Shape of one outcome: a number, in all of these.
    """

    event_shape = Size()

    @property
    def variance(self):
        """Variance of an outcome."""
        return self.stddev**2

    @property
    def stddev(self):
        """Standard deviation of an outcome."""
        return self.variance.sqrt()

    def sample(self, sample_shape=()):
        """Outcomes, of shape ``(*sample_shape, *batch_shape)``, without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape=()):
        """Outcomes with a gradient."""
        raise NotImplementedError

    def _shape(self, sample_shape):
        return Size((*sample_shape, *self.batch_shape))


def _either(probs, logits):
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


def _inside(probs):
    """Probabilities, not quite 0 or 1: their logarithms are finite."""
    eps = torch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


class Categorical(Distribution):
    """One of n outcomes, by `probs` or `logits` of shape ``(..., n)``, which need not be normalized."""

    def __init__(self, probs=None, logits=None, validate_args=None):
        _either(probs, logits)
        if probs is not None:
            if probs.dim() < 1:
                raise ValueError("`probs` parameter must be at least one-dimensional.")
            self.probs = probs / probs.sum(-1, keepdim=True)
            self.logits = _inside(self.probs).log()
        else:
            if logits.dim() < 1:
                raise ValueError("`logits` parameter must be at least one-dimensional.")
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
            self.probs = self.logits.softmax(-1)
        self.batch_shape = self.probs.shape[:-1]

    def sample(self, sample_shape=()):
        """As in `Distribution`."""
        shape = self._shape(sample_shape)
        rows = self.probs.detach().reshape(-1, self.probs.shape[-1])
        drawn = torch.multinomial(rows, Size(sample_shape).numel(), replacement=True)
        return drawn.T.reshape(shape)

    def log_prob(self, value):
        """Log-probability of outcomes."""
        value, logits = torch.broadcast_tensors(value.long().unsqueeze(-1), self.logits)
        return logits.gather(-1, value[..., :1]).squeeze(-1)

    def entropy(self):
        """Entropy in nats."""
        return -(self.logits.clamp(min=torch.finfo(self.logits.dtype).min) * self.probs).sum(-1)


class Bernoulli(Distribution):
    """1 with a probability, else 0; by `probs` or `logits`."""

    def __init__(self, probs=None, logits=None, validate_args=None):
        _either(probs, logits)
        given = probs if logits is None else logits
        given = given if isinstance(given, Tensor) else torch.tensor(given, dtype=dtypes.get_default_dtype())
        self.probs = given.sigmoid() if probs is None else given
        self.logits = given if probs is None else torch.log(_inside(given)) - torch.log1p(-_inside(given))
        self.batch_shape = given.shape

    @property
    def mean(self):
        """Mean of an outcome."""
        return self.probs

    @property
    def variance(self):
        """As in `Distribution`."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        """As in `Distribution`."""
        return torch.bernoulli(self.probs.detach().expand(self._shape(sample_shape)))

    def log_prob(self, value):
        """Log-probability of outcomes."""
        logits, value = torch.broadcast_tensors(self.logits, value)
        return -torch.nn.functional.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self):
        """Entropy in nats."""
        return torch.nn.functional.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")


class Normal(Distribution):
    """Normal numbers by mean and standard deviation."""

    def __init__(self, loc, scale, validate_args=None):
        as_tensor = (
            x if isinstance(x, Tensor) else torch.tensor(x, dtype=dtypes.get_default_dtype())
            for x in (loc, scale)
        )
        self.loc, self.scale = torch.broadcast_tensors(*as_tensor)
        self.batch_shape = self.loc.shape

    @property
    def mean(self):
        """Mean of an outcome."""
        return self.loc

    @property
    def stddev(self):
        """As in `Distribution`."""
        return self.scale

    def sample(self, sample_shape=()):
        """As in `Distribution`."""
        shape = self._shape(sample_shape)
        return torch.normal(self.loc.detach().expand(shape), self.scale.detach().expand(shape))

    def rsample(self, sample_shape=()):
        """As in `Distribution`."""
        return self.loc + torch.randn(self._shape(sample_shape), dtype=self.loc.dtype) * self.scale

    def log_prob(self, value):
        """Log-density of outcomes."""
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - log(2 * pi) / 2

    def entropy(self):
        """Differential entropy in nats."""
        return 0.5 + 0.5 * log(2 * pi) + self.scale.log()


def kl_divergence(p, q):
    """KL divergence from `q` to `p` in nats, of two distributions of one kind."""
    if isinstance(p, Categorical) and isinstance(q, Categorical):
        terms = torch.where(p.probs == 0, torch.zeros_like(p.probs), p.probs * (p.logits - q.logits))
        return terms.sum(-1)
    if isinstance(p, Normal) and isinstance(q, Normal):
        ratio = (p.scale / q.scale) ** 2
        return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())
    raise NotImplementedError(
        f"kl_divergence of {type(p).__name__} and {type(q).__name__} is not in the in-page subset; "
        "run with PyTorch"
    )


def __getattr__(name):
    raise refusal("torch.distributions", name)
