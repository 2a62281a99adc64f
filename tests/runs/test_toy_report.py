import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.post_training.toy.frontier import divergence, expected, optimum
from llmguide.runs.toy_report import best_at, load_policy

REWARD = torch.tensor([[2.0, 0.0, 1.0, -1.0], [0.5, 0.0, -2.0, 3.0]])
REFERENCE = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]).log()
LOGITS = st.lists(st.floats(-4, 4), min_size=8, max_size=8)


@pytest.mark.parametrize("beta", [0.3, 1.0, 5.0])
def test_at_the_divergence_of_an_optimum_the_best_is_that_optimum(beta):
    best = optimum(REFERENCE, REWARD, beta)
    found = best_at(REFERENCE, REWARD, divergence(best, REFERENCE).item())
    assert found == pytest.approx(expected(best, REWARD).item(), abs=1e-4)


@settings(max_examples=10, deadline=None)
@given(LOGITS)
def test_no_policy_has_more_reward_at_its_divergence(logits):
    policy = torch.tensor(logits).view(2, 4).log_softmax(dim=1)
    kl = divergence(policy, REFERENCE).item()
    assert expected(policy, REWARD).item() <= best_at(REFERENCE, REWARD, kl) + 1e-3


def test_at_the_ends_the_best_is_the_reference_and_the_best_answer():
    assert best_at(REFERENCE, REWARD, 0.0) == pytest.approx(expected(REFERENCE, REWARD).item(), abs=1e-2)
    assert best_at(REFERENCE, REWARD, 100.0) == pytest.approx((2.0 + 3.0) / 2)


def test_a_folder_without_a_policy_is_refused(tmp_path, chat_run):
    for folder in (tmp_path, chat_run):
        with pytest.raises(ValueError, match="has no model of the tiny world"):
            load_policy(folder)
