r"""Linear probes: predict a property of a token from its activation vector, and compare with a control task.

A probe is multinomial logistic regression with an L2 penalty,

$$\min_{W, b} \; \frac1N \sum_i -\log p_{W,b}(y_i \mid x_i) + \frac{\lambda}{2} \lVert W \rVert^2,$$

whose optimum is unique up to the bias. High accuracy can mean that the vectors carry the property, or that
the probe memorized it for each token. The control task tells these apart: every token of the vocabulary gets
a random label, which only memorizing can predict. Selectivity is the difference of the accuracies.

References: Alain and Bengio 2016, arXiv:1610.01644 (linear probes); Hewitt and Liang 2019, arXiv:1909.03368,
section 2 (control tasks and selectivity).

Leaves out: early stopping and rank constraints, with which Hewitt and Liang make probes more selective.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def fit_probe(
    x: Float[Tensor, "N D"], labels: Int[Tensor, " N"], n_classes: int, *, l2: float = 1e-2
) -> nn.Linear:
    r"""Fit multinomial logistic regression with L-BFGS.

    Args:
        x: Activation vectors, one a token.
        labels: Class of each vector, 0 to ``n_classes`` - 1.
        n_classes: Number of classes C.
        l2: Penalty $\lambda$ on the weights, not the bias.

    Returns:
        The probe, from vectors (..., D) to logits (..., C), on the device of `x`.

    >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> probe = fit_probe(x, torch.tensor([0, 0, 1, 1]), 2)
    >>> probe(x).argmax(dim=-1).tolist()
    [0, 0, 1, 1]
    """
    probe = nn.Linear(x.shape[1], n_classes, device=x.device, dtype=x.dtype)
    nn.init.zeros_(probe.weight), nn.init.zeros_(probe.bias)
    optimizer = torch.optim.LBFGS(
        probe.parameters(), max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(probe(x), labels) + l2 / 2 * probe.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # as above
    return probe.requires_grad_(False)


def probe_accuracy(probe: nn.Linear, x: Float[Tensor, "N D"], labels: Int[Tensor, " N"]) -> float:
    """Compute the fraction of vectors whose most likely class is the label."""
    predicted: Tensor = probe(x).argmax(dim=-1)
    return (predicted == labels).float().mean().item()


def control_labels(ids: Int[Tensor, " N"], labels: Int[Tensor, " N"], *, seed: int = 0) -> Int[Tensor, " N"]:
    """Give every token of the vocabulary one random label, sampled from the distribution of the real ones.

    Args:
        ids: Token ids.
        labels: Labels of the real task, whose frequencies the control task copies.
        seed: Seed of the random generator.

    >>> control_labels(torch.tensor([3, 5, 3, 5]), torch.tensor([0, 1, 1, 0]))[:2].tolist()
    [0, 0]
    """
    generator = torch.Generator().manual_seed(seed)
    sampled = torch.randint(len(labels), (int(ids.max()) + 1,), generator=generator)
    return labels[sampled][ids]
