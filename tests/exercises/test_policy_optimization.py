"""Wrong versions of the formulas of RLHF that agree with the right ones on most inputs."""

import pytest
import torch

from llmguide.exercises.grading import exercise, grade_exercise
from llmguide.projects.assignments.assignment import part_of


def clipped_loss(ratio, advantages, low, high):
    return -torch.minimum(ratio * advantages, ratio.clamp(low, high) * advantages)


def fixed_clip(logp, old_logp, advantages, clip):
    return clipped_loss((logp - old_logp).exp(), advantages, 0.8, 1.2)


def dual_clip(logp, old_logp, advantages, clip):
    loss = clipped_loss((logp - old_logp).exp(), advantages, 1 - clip, 1 + clip)
    return torch.where(advantages < 0, loss.minimum(-3 * advantages), loss)


def fixed_value_clip(values, old_values, returns, clip):
    clipped = old_values + (values - old_values).clamp(-0.2, 0.2)
    return torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).mean() / 2


def clipped_score(score, logp, ref_logp, mask, kl_coef):
    return part_of("token-rewards").solution(score.clamp(-5, 5), logp, ref_logp, mask, kl_coef)


def smoothed_kl(logits, ref_logits):
    p, q = logits.softmax(-1), ref_logits.softmax(-1)
    return (p * ((p + 1e-8).log() - (q + 1e-8).log())).sum(-1)


def kl_of_matrices(logits, ref_logits):
    p, q = logits.log_softmax(1), ref_logits.log_softmax(1)
    return (p.exp() * (p - q)).sum(1)


def clamped_k3(logp, ref_logp):
    d = (ref_logp - logp).clamp(-10, 10)
    return d.exp() - 1 - d


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("ppo-clip", fixed_clip),
        ("ppo-clip", dual_clip),
        ("value-loss", fixed_value_clip),
        ("token-rewards", clipped_score),
        ("kl", smoothed_kl),
        ("kl", kl_of_matrices),
        ("kl-estimate", clamped_k3),
    ],
)
def test_a_version_that_is_wrong_on_some_inputs_fails(name, wrong):
    assert not grade_exercise(part_of(name), wrong).passed


def test_the_ratio_of_probabilities_underflows_like_the_difference_of_their_logarithms():
    def mine(logits, ref_logits):
        p, q = logits.softmax(-1), ref_logits.softmax(-1)
        return (p * (p / q).log()).sum(-1)

    assert grade_exercise(exercise("kl"), mine).mistake == "underflow"


def test_values_clipped_around_the_returns_are_named_as_not_clipped():
    def mine(values, old_values, returns, clip):
        clipped = returns + (values - returns).clamp(-clip, clip)
        return torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).mean() / 2

    found = grade_exercise(part_of("value-loss"), mine)
    assert "or around the returns" in found.message


def test_hints_to_k3_use_the_names_of_its_arguments():
    for mistake in exercise("kl-estimate").mistakes:
        assert "exp(d)" not in mistake.hint
        assert not mistake.when.startswith("d ")
