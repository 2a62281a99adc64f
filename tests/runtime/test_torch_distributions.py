"""Distributions: the same samples, log-probabilities, entropies and divergences as torch's."""

from itertools import product

from tests.runtime.test_torch_operations import check
from torch.distributions import Distribution

HEAD = "from torch.distributions import *\ntorch.manual_seed(2)\n"
CATEGORICAL = ("probs=T([0.2, 0.3, 0.5])", "T([1.0, 3.0])", "logits=T([0.5, -1.0, 2.0])", "probs=T([[1.0, 0.0], [0.25, 0.75]])", "logits=torch.arange(12.0).reshape(2, 2, 3)")  # fmt: skip
BERNOULLI = ("probs=T([0.2, 0.9])", "0.3", "logits=T([[0.5], [-3.0]])", "probs=T([0.0, 1.0])")
NORMAL = ("0.0, 1.0", "T([1.0, -2.0]), T([0.5, 3.0])", "T([[1.0], [2.0]]), 0.1")

INVALID = (
    "Categorical(probs=T([-0.1, 1.1]))", "Categorical(probs=T([0.0, 0.0]))", "Categorical(logits=T([float('nan'), 0.0]))", "Categorical(logits=T([float('inf'), 0.0]))",
    "Bernoulli(1.5)", "Bernoulli(T([0.5, -0.1]))", "Bernoulli(logits=T([float('nan')]))",
    "Normal(0.0, 0.0)", "Normal(T([0.0, 1.0]), T([1.0, -1.0]))", "Normal(float('nan'), 1.0)",
)  # fmt: skip
OUTCOMES = (
    *(f"Categorical(T([0.2, 0.8]){{}}).log_prob({value})" for value in ("T([1.0])", "T([2])", "T([-1])", "T([0.5])", "1", "T([[0], [1]])")),
    *(f"Bernoulli(T([0.2, 0.8]){{}}).log_prob({value})" for value in ("T([0.0, 1.0])", "T([0.5, 0.5])", "T([1.0, 0.0, 1.0])", "T([[1.0], [0.0]])")),
    *(f"Normal(T([0.2, 0.8]), T(1.0){{}}).log_prob({value})" for value in ("T([float('nan'), 1.0])", "T([1.0, 0.0, 1.0])", "0.5", "T(0.5)")),
)  # fmt: skip

SNIPPETS = [
    *(f"{HEAD}d = {kind}({given}); (d.batch_shape, d.event_shape, d.sample(), d.sample((3,)), d.sample((2, 2)), d.entropy())" for kind, table in (("Categorical", CATEGORICAL), ("Bernoulli", BERNOULLI), ("Normal", NORMAL)) for given in table),
    *(f"{HEAD}d = Categorical({given}); (d.probs, d.logits, d.log_prob(d.sample((4,))))" for given in CATEGORICAL),
    *(f"{HEAD}d = Bernoulli({given}); (d.probs, d.logits, d.mean, d.variance, d.stddev, d.log_prob(d.sample((4,))))" for given in BERNOULLI),
    *(f"{HEAD}d = Normal({given}); (d.mean, d.stddev, d.variance, d.log_prob(d.sample((4,))), d.rsample((2,)))" for given in NORMAL),
    f"{HEAD}x = leaf(2, 3); d = Categorical(logits=x); (d.log_prob(T([2, 0])) + d.entropy()).sum()",
    f"{HEAD}x = leaf(3); y = leaf(3).exp(); d = Normal(x, y); (d.rsample() + d.log_prob(T([0.5, 1.0, 2.0]))).sum()",
    f"{HEAD}x = leaf(3); Bernoulli(logits=x).log_prob(T([0.0, 1.0, 1.0])).sum()",
    *(f"{HEAD}kl_divergence(Categorical({a}), Categorical({b}))" for a, b in product(("T([0.2, 0.8])", "logits=T([1.0, -1.0])", "T([1.0, 0.0])"), ("T([0.5, 0.5])", "logits=T([0.0, 3.0])"))),
    *(f"{HEAD}kl_divergence(Normal({a}), Normal({b}))" for a, b in product(("0.0, 1.0", "T([1.0, 2.0]), T([0.5, 3.0])"), ("0.0, 2.0", "T([1.0, -1.0]), 1.0"))),
    *(HEAD + snippet for snippet in INVALID),
    *(HEAD + snippet.format(flag) for snippet in OUTCOMES for flag in ("", ", validate_args=True", ", validate_args=None")),
    *(f"{HEAD}{snippet[:-1]}, validate_args=False).batch_shape" for snippet in INVALID),
    f"{HEAD}Normal(T([0.2, 0.8]), 1.0, validate_args=False).log_prob(T([float('nan'), 1.0]))",
    f"{HEAD}Bernoulli(T([0.2, 0.8]), validate_args=False).log_prob(T([0.5, 2.0]))",
    f"{HEAD}Categorical()", f"{HEAD}Categorical(T([1.0]), T([1.0]))", f"{HEAD}Categorical(T(1.0))",
]  # fmt: skip


def test_distributions_are_those_of_torch(monkeypatch):
    monkeypatch.setattr(Distribution, "_validate_args", True)  # some libraries switch it off for all
    check(SNIPPETS)
