r"""Mixture of experts: several feed-forward layers and a router that sends each token to a few of them.

References: Jiang et al. 2024, arXiv:2401.04088, section 2 (Mixtral's router); Fedus et al. 2021,
arXiv:2101.03961, section 2.2 (load balancing).

Glossary: ``N`` experts, ``k`` experts for each token, ``D`` model width.

Leaves out: capacity limits, router noise and shared experts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.nn._linear import Linear
from llmguide.nn.feed_forward import FeedForward


def route(
    logits: Float[Tensor, "*batch N"], k: int
) -> tuple[Float[Tensor, "*batch k"], Int[Tensor, "*batch k"]]:
    r"""Choose k experts for each token and the weights of their outputs.

    The weights are the softmax over the chosen k logits alone (arXiv:2401.04088, section 2), which is the
    same as the softmax over all N, restricted to the k largest and divided by their sum.

    Args:
        logits: Router scores of each expert.
        k: Number of experts for each token, 1 to N.

    Returns:
        Weights that sum to 1, in float32, largest first, and the experts they belong to.

    >>> weights, experts = route(torch.tensor([1.0986123, 0.0, -5.0]), k=2)  # log 3 and 0: 3 to 1
    >>> weights.tolist(), experts.tolist()
    ([0.75, 0.25], [0, 1])
    """
    values, experts = logits.float().topk(k, dim=-1)
    return values.softmax(dim=-1), experts


def load_balancing_loss(
    logits: Float[Tensor, "*tokens N"], k: int, mask: Bool[Tensor, "*tokens"] | None = None
) -> Float[Tensor, ""]:
    r"""Compute the load-balancing loss, $N \sum_i f_i\, p_i$.

    $f_i$ is the number of times expert i is chosen per token, $p_i$ its mean probability; only $p_i$ has a
    gradient, which is largest for the most loaded experts. With k = 1 it is equation 4 of
    arXiv:2101.03961 without its factor, there 0.01. For several layers, transformers averages over the
    tokens of all of them: concatenate their logits.

    Args:
        logits: Router scores, one row for each token.
        k: Number of experts that a token is sent to.
        mask: True for real tokens, False for padding.

    Returns:
        The loss: k for even probabilities, N if the same k experts get everything; it can fall below k.

    >>> load_balancing_loss(torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), k=1).item()  # one token for each expert
    1.0
    >>> load_balancing_loss(torch.tensor([[9.0, -9.0], [9.0, -9.0]]), k=1).item()  # both for the first
    2.0
    >>> uneven = torch.tensor([[0.51, 0.49], [0.51, 0.49], [1e-9, 1.0]]).log()  # loads 2/3 and 1/3
    >>> round(load_balancing_loss(uneven, k=1).item(), 2)
    0.89
    """
    N = logits.shape[-1]
    probabilities = logits.float().softmax(dim=-1)
    chosen = F.one_hot(probabilities.topk(k, dim=-1).indices, N).sum(dim=-2)  # k ones in each row
    counts = torch.ones(logits.shape[:-1], device=logits.device) if mask is None else mask.float()
    fraction = (chosen * counts[..., None]).flatten(0, -2).sum(dim=0) / counts.sum()
    mean_probability = (probabilities * counts[..., None]).flatten(0, -2).sum(dim=0) / counts.sum()
    return N * (fraction * mean_probability).sum()


class MixtureOfExperts(nn.Module):
    r"""N feed-forward layers (experts); a router sends each token to k of them.

    $$y = \sum_{i \in \text{chosen}} w_i \cdot \text{expert}_i(x)$$

    arXiv:2401.04088, section 2. Parameters grow with N, FLOPs per token with k. The weights are those of
    `route`.

    Args:
        config: Model configuration; reads ``n_experts``, ``n_experts_per_token`` and the fields of
            `FeedForward`.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.k = config.n_experts_per_token
        self.router = Linear(config.d_model, config.n_experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(config) for _ in range(config.n_experts))

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Apply to each vector its experts."""
        tokens = x.flatten(0, -2)  # (tokens, D)
        weights, chosen = route(self.router(tokens), self.k)
        out = torch.zeros_like(tokens)
        for i, expert in enumerate(self.experts):
            rows, slots = torch.where(chosen == i)
            if len(rows):
                part = expert(tokens[rows]) * weights[rows, slots, None]
                out = out.index_add(0, rows, part.to(out.dtype))
        return out.view_as(x)


@contextmanager
def recorded_routing(model: Any) -> Iterator[list[tuple[Float[Tensor, "tokens N"], int]]]:
    """Collect what the routers of a model compute inside a ``with`` block.

    Args:
        model: Model with any number of `MixtureOfExperts` layers, or any function, which has none.

    Yields:
        A list that each call of a layer appends its router scores and k to: the arguments of
        `load_balancing_loss`.

    >>> from llmguide.models import build
    >>> sizes = {"vocab_size": 7, "context_length": 4, "n_layers": 2, "d_model": 8, "n_heads": 2}
    >>> model = build(ModelConfig(**sizes, n_experts=3, n_experts_per_token=1))
    >>> with recorded_routing(model) as routing:
    ...     logits = model(torch.tensor([[0, 1, 2, 3]]))
    >>> [(tuple(scores.shape), k) for scores, k in routing]
    [((4, 3), 1), ((4, 3), 1)]
    """
    routing: list[tuple[Tensor, int]] = []
    modules = model.modules() if isinstance(model, nn.Module) else ()
    layers = [layer for layer in modules if isinstance(layer, MixtureOfExperts)]
    handles = [
        layer.router.register_forward_hook(lambda _, __, scores, k=layer.k: routing.append((scores, k)))
        for layer in layers
    ]
    try:
        yield routing
    finally:
        for handle in handles:
            handle.remove()
