import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from llmguide.interpretability.probe import control_labels, fit_probe, probe_accuracy
from tests.parity import assert_parity


def optimum(x, labels, n_classes, l2):
    """Logistic regression by scipy, in float64, with the gradient written out."""
    N, D = x.shape
    one_hot = np.eye(n_classes)[labels]

    def loss_and_gradient(flat):
        weight, bias = flat[: n_classes * D].reshape(n_classes, D), flat[n_classes * D :]
        scores = x @ weight.T + bias
        top = scores.max(1, keepdims=True)
        log_sums = top[:, 0] + np.log(np.exp(scores - top).sum(1))
        loss = (log_sums - (scores * one_hot).sum(1)).mean() + l2 / 2 * (weight**2).sum()
        error = (np.exp(scores - log_sums[:, None]) - one_hot) / N
        return loss, np.concatenate([(error.T @ x + l2 * weight).ravel(), error.sum(0)])

    found = minimize(loss_and_gradient, np.zeros(n_classes * (D + 1)), jac=True, method="BFGS", tol=1e-9)
    return found.x[: n_classes * D].reshape(n_classes, D)


@pytest.mark.parity
@pytest.mark.parametrize(("seed", "n_classes", "l2"), [(0, 2, 0.1), (1, 3, 0.03), (2, 5, 0.01)])
def test_the_probe_is_the_optimum_of_logistic_regression(seed, n_classes, l2):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(120, 7, generator=generator, dtype=torch.float64)
    labels = (x[:, :n_classes] + torch.randn(120, n_classes, generator=generator)).argmax(dim=-1)
    probe = fit_probe(x, labels, n_classes, l2=l2)
    expected = optimum(x.numpy(), labels.numpy(), n_classes, l2)
    of = "llmguide.interpretability.probe.fit_probe"
    assert_parity(probe.weight, expected, of=of, against="scipy.optimize.minimize", atol=1e-4)


def test_a_control_task_gives_every_token_one_label_and_copies_the_frequencies():
    ids = torch.arange(2000).repeat(2)
    labels = torch.where(torch.arange(4000) % 4 == 0, 1, 0)
    control = control_labels(ids, labels, seed=1)
    assert torch.equal(control[:2000], control[2000:])
    assert control.float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert not torch.equal(control, control_labels(ids, labels, seed=2))


def test_accuracy_is_the_fraction_of_correct_vectors():
    probe = torch.nn.Linear(1, 2, bias=False)
    probe.weight.data = torch.tensor([[0.0], [1.0]])
    assert probe_accuracy(
        probe, torch.tensor([[1.0], [-1.0], [2.0]]), torch.tensor([1, 1, 0])
    ) == pytest.approx(1 / 3)


def test_the_probe_is_on_the_device_of_its_vectors():
    x, labels = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    with torch.device("meta"):  # the default device, where nothing can be computed
        probe = fit_probe(x, labels, 2)
    assert probe_accuracy(probe, x, labels) == 1.0
