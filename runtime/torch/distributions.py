"""Distributions: samples, log-probabilities, entropies and KL divergences."""

from __future__ import annotations

from math import inf, log, pi
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch
from torch import dtypes
from torch.attributes import Size
from torch.refusal import refusal
from torch.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Bernoulli", "Categorical", "Distribution", "Normal", "kl_divergence"]


class _Constraint(NamedTuple):
    """What every element has to be, and whether it is."""

    text: str
    holds: Callable[[Tensor], Tensor]


_REAL = _Constraint("a number", lambda value: value <= inf)  # not nan
_POSITIVE = _Constraint("above 0", lambda value: value > 0)
_NON_NEGATIVE = _Constraint("at least 0", lambda value: value >= 0)
_PROBABILITY = _Constraint("between 0 and 1", lambda value: (value >= 0) & (value <= 1))
_BOOLEAN = _Constraint("0 or 1", lambda value: (value == 0) | (value == 1))


def _index(n: int) -> _Constraint:
    """The outcomes 0 to n - 1."""
    text = f"an integer from 0 to {n - 1}"
    return _Constraint(text, lambda value: (value % 1 == 0) & (value >= 0) & (value < n))


class Distribution:
    """What all have. Unless `validate_args` is False, parameters and outcomes are checked.

    Attributes:
        batch_shape: Shape of the parameters without the axis of the outcomes.
        event_shape: Shape of one outcome: a number, in all of these.
    """

    batch_shape: Size
    event_shape = Size()
    _support: _Constraint

    def __init__(
        self, batch_shape: Size, validate_args: bool | None, parameters: dict[str, _Constraint]
    ) -> None:
        self.batch_shape = batch_shape
        self._checked = validate_args is not False
        for name, constraint in parameters.items():
            self._check(f"parameter {name}", getattr(self, name), constraint)

    def _check(self, what: str, value: Tensor, constraint: _Constraint) -> None:
        if self._checked and not constraint.holds(value).all():
            kind = type(self).__name__
            raise ValueError(
                f"Expected {what} of {kind} to be {constraint.text}, but found invalid values:\n{value}"
            )

    def _check_outcome(self, value: Tensor) -> None:
        if not self._checked:
            return
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        for size, expected in zip(reversed(value.shape), reversed(self.batch_shape), strict=False):
            if size != expected and 1 not in (size, expected):
                shapes = f"{value.shape} vs {self.batch_shape}"
                raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {shapes}.")
        self._check("value", value, self._support)

    @property
    def variance(self) -> Tensor:
        """Variance of an outcome."""
        return self.stddev**2

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of an outcome."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Outcomes, of shape ``(*sample_shape, *batch_shape)``, without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Outcomes with a gradient."""
        raise NotImplementedError

    def _shape(self, sample_shape: Sequence[int]) -> Size:
        return Size((*sample_shape, *self.batch_shape))


def _either(probs: Any, logits: Any) -> Any:
    """The one of the two that is given."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return probs if logits is None else logits


def _as_tensor(value: float | Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=dtypes.get_default_dtype())


def _inside(probs: Tensor) -> Tensor:
    """Probabilities, not quite 0 or 1: their logarithms are finite."""
    eps = torch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


class Categorical(Distribution):
    """One of n outcomes, by `probs` or `logits` of shape ``(..., n)``, which need not be normalized."""

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given: Tensor = _either(probs, logits)
        if given.dim() < 1:
            name = "probs" if logits is None else "logits"
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if logits is None:
            self.probs = given / given.sum(-1, keepdim=True)
            self.logits = _inside(self.probs).log()
        else:
            self.logits = given - given.logsumexp(-1, keepdim=True)
            self.probs = self.logits.softmax(-1)
        self._support = _index(given.shape[-1])
        constraints = {"probs": _NON_NEGATIVE} if logits is None else {"logits": _REAL}
        super().__init__(given.shape[:-1], validate_args, constraints)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """As in `Distribution`."""
        shape = self._shape(sample_shape)
        rows = self.probs.detach().reshape(-1, self.probs.shape[-1])
        drawn = torch.multinomial(rows, Size(sample_shape).numel(), replacement=True)
        return drawn.T.reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of outcomes."""
        self._check_outcome(value)
        value, logits = torch.broadcast_tensors(value.long().unsqueeze(-1), self.logits)
        return logits.gather(-1, value[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats."""
        return -(self.logits.clamp(min=torch.finfo(self.logits.dtype).min) * self.probs).sum(-1)


class Bernoulli(Distribution):
    """1 with a probability, else 0; by `probs` or `logits`."""

    _support = _BOOLEAN

    def __init__(
        self,
        probs: float | Tensor | None = None,
        logits: float | Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = _as_tensor(_either(probs, logits))
        self.probs = given.sigmoid() if probs is None else given
        self.logits = given if probs is None else torch.log(_inside(given)) - torch.log1p(-_inside(given))
        constraints = {"probs": _PROBABILITY} if logits is None else {"logits": _REAL}
        super().__init__(given.shape, validate_args, constraints)

    @property
    def mean(self) -> Tensor:
        """Mean of an outcome."""
        return self.probs

    @property
    def variance(self) -> Tensor:
        """As in `Distribution`."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """As in `Distribution`."""
        return torch.bernoulli(self.probs.detach().expand(self._shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of outcomes."""
        self._check_outcome(value)
        logits, value = torch.broadcast_tensors(self.logits, value)
        return -torch.nn.functional.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        """Entropy in nats."""
        return torch.nn.functional.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")


class Normal(Distribution):
    """Normal numbers by mean and standard deviation."""

    _support = _REAL

    def __init__(self, loc: float | Tensor, scale: float | Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(_as_tensor(loc), _as_tensor(scale))
        super().__init__(self.loc.shape, validate_args, {"loc": _REAL, "scale": _POSITIVE})

    @property
    def mean(self) -> Tensor:
        """Mean of an outcome."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """As in `Distribution`."""
        return self.scale

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """As in `Distribution`."""
        shape = self._shape(sample_shape)
        return torch.normal(self.loc.detach().expand(shape), self.scale.detach().expand(shape))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """As in `Distribution`."""
        return self.loc + torch.randn(self._shape(sample_shape), dtype=self.loc.dtype) * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of outcomes."""
        self._check_outcome(value)
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - log(2 * pi) / 2

    def entropy(self) -> Tensor:
        """Differential entropy in nats."""
        return 0.5 + 0.5 * log(2 * pi) + self.scale.log()


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
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


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> NoReturn:
        raise refusal("torch.distributions", name)
