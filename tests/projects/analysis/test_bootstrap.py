import pytest
import torch

from llmguide.evaluation.metrics import bootstrap_interval
from llmguide.projects.analysis.bootstrap import cluster_bootstrap_interval, independent_difference


def test_groups_of_one_give_the_plain_bootstrap():
    values = torch.rand(200, generator=torch.Generator().manual_seed(0)).tolist()
    plain, grouped = (
        bootstrap_interval(values),
        cluster_bootstrap_interval(values, list(map(str, range(200)))),
    )
    assert grouped == pytest.approx(plain, abs=0.003)


def test_values_that_are_alike_in_groups_are_worth_fewer():
    values, groups = [0.0, 1.0] * 50, ["a", "b"] * 50
    _, low, high = cluster_bootstrap_interval(values, groups)
    assert (low, high) == (0.0, 1.0)  # two groups, of which one may be drawn twice
    with pytest.raises(ValueError, match="2 values and 1 groups"):
        cluster_bootstrap_interval([1.0, 2.0], ["a"])


def test_a_difference_of_independent_means_has_the_interval_of_their_variances():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(n, generator=generator).double() for n in (300, 700))
    difference = independent_difference(
        bootstrap_interval(first.tolist()), bootstrap_interval(second.tolist())
    )
    half = 1.96 * (first.var() / 300 + second.var() / 700).sqrt().item()
    gap = (first.mean() - second.mean()).item()
    assert difference == pytest.approx((gap, gap - half, gap + half), abs=0.01)
