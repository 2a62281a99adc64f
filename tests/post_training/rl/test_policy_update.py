from math import nan

import pytest
import torch
from torch import nn

from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.post_training.rl.policy_update import update_policy
from llmguide.training.divergence import DivergenceError


def update(weight, x, *, per_token, **options):
    """Minimize w x over a completion of three tokens and one of a single token."""
    mask = torch.tensor([[True, True, True], [True, False, False]])
    config = PolicyTrainerConfig(n_steps=1, batch_size=2, max_new_tokens=3, max_grad_norm=100, **options)

    def minibatch_loss(rows):
        counts = mask[rows].sum(dim=1) if per_token else torch.ones(len(rows))
        loss = (weight(x[rows, None])[:, 0] * counts).sum() / counts.sum()
        return loss, {"policy_loss": loss, "x": (x[rows] * mask[rows].sum(dim=1)).sum() / mask[rows].sum()}

    optimizer = torch.optim.SGD(weight.parameters())
    return update_policy(weight, optimizer, mask, minibatch_loss, config, step=1, per_token=per_token)


@pytest.mark.parametrize("gradient_accumulation_steps", [1, 2])
@pytest.mark.parametrize(("per_token", "gradient"), [(True, (3 * 1 + 5) / 4), (False, (1 + 5) / 2)])
def test_parts_of_a_minibatch_weigh_by_tokens_or_completions(
    per_token, gradient, gradient_accumulation_steps
):
    weight = nn.Linear(1, 1, bias=False)
    before = weight.weight.item()
    metrics = update(
        weight,
        torch.tensor([1.0, 5.0]),
        per_token=per_token,
        gradient_accumulation_steps=gradient_accumulation_steps,
    )
    assert metrics["grad_norm"] == pytest.approx(gradient)
    assert metrics["policy_loss"] == pytest.approx(gradient * before)
    assert metrics["x"] == pytest.approx(2)  # of the tokens, whatever the loss averages


def test_a_loss_that_is_not_finite_stops_the_run_before_the_weights_change():
    weight = nn.Linear(1, 1, bias=False)
    before = weight.weight.item()
    with pytest.raises(DivergenceError, match="step 1: loss nan"):
        update(weight, torch.tensor([1.0, nan]), per_token=True)
    assert weight.weight.item() == before
