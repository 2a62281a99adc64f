r"""Activation steering: add a vector to the residual stream while the model runs.

The vector is a difference of means: the average activation on texts with a property, minus that on texts
without it, both at the last token.

References: Turner et al. 2023, arXiv:2308.10248 (activation addition); Panickssery et al. 2023,
arXiv:2312.06681 (difference of means over many pairs; added after the prompt only).

Leaves out: choosing the layer and the strength, which is done by trying them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.interpretability.activations import record_activations
from llmguide.interpretability.hooks import edit_input, residual_sites
from llmguide.models.transformer_decoder import TransformerDecoder


def steering_vector(
    model: TransformerDecoder,
    positive: Sequence[Int[Tensor, " _"]],
    negative: Sequence[Int[Tensor, " _"]],
    *,
    layer: int,
) -> Float[Tensor, " D"]:
    """Compute the difference of the mean activations of two sets of texts, at the last token.

    Args:
        model: The decoder.
        positive: Token ids of texts with the property; lengths may differ.
        negative: Token ids of texts without it.
        layer: Blocks that have run: 0 for the embeddings, L for the end.
    """
    means = []
    for texts in (positive, negative):
        last = [record_activations(model, ids[None]).residual[layer, 0, -1] for ids in texts]
        means.append(torch.stack(last).mean(dim=0))
    return means[0] - means[1]


@contextmanager
def steer(model: TransformerDecoder, vector: Float[Tensor, "*B_1 D"], *, layer: int) -> Iterator[None]:
    """Add a vector to the residual stream at every position while the context is open.

    Args:
        model: The decoder to change.
        vector: Steering vector to add, times a strength, which may be negative; or one for each row of the
            batch, of shape (B, 1, D).
        layer: Blocks that have run when the vector is added.

    >>> from llmguide import ModelConfig, build, steer
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> with steer(model, torch.arange(12.0), layer=1):
    ...     steered = model(ids)
    >>> torch.equal(steered, model(ids))
    False
    """
    with edit_input(residual_sites(model)[layer], lambda x: x + vector):
        yield
