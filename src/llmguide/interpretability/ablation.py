"""Ablation: switch a part of a model off, and measure what it was needed for.

Zero ablation replaces an output by zeros, which the rest of the model may never have seen. Mean ablation
replaces it by its average over a data set, which removes only what varies with the input.

References: Michel et al. 2019, arXiv:1905.10650, section 3 (ablating one head at a time); Wang et al. 2022,
arXiv:2211.00593 (mean ablation).

Glossary: ``L`` layers, ``B`` batch, ``T`` tokens, ``H`` heads, ``E`` head width, ``V`` vocabulary.

Leaves out: resampling, which replaces an output by that of another input (see `patching`).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.interpretability.hooks import blocks_of, edit_input, edit_output
from llmguide.models.transformer_decoder import TransformerDecoder

Metric = Callable[[Float[Tensor, "B T V"]], Float[Tensor, ""]]  # of the logits, such as a loss


@contextmanager
def ablate_heads(
    model: TransformerDecoder,
    heads: Iterable[tuple[int, int]],
    *,
    means: Float[Tensor, "L H E"] | None = None,
) -> Iterator[None]:
    """Replace the outputs of some attention heads while the context is open.

    Args:
        model: The decoder to change.
        heads: Layer and head of each, both counted from 0.
        means: Replacements for mean ablation, such as ``activations.head_outputs.mean(dim=(1, 2))``; None
            replaces by zeros.

    >>> from llmguide import ModelConfig, ablate_heads, build
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> with ablate_heads(model, [(0, 2)]):
    ...     ablated = model(ids)
    >>> torch.equal(ablated, model(ids))
    False
    """
    size = (model.config.n_heads, model.config.head_dim)

    def replace(x: Tensor, *, layer: int, head: int) -> Tensor:
        split: Tensor = x.view(*x.shape[:-1], *size).clone()
        split[..., head, :] = 0.0 if means is None else means[layer, head]
        return split.flatten(-2)

    with ExitStack() as hooks:
        for layer, head in heads:
            edit = partial(replace, layer=layer, head=head)
            hooks.enter_context(edit_input(blocks_of(model)[layer].attention.o_proj, edit))
        yield


@torch.no_grad()
def head_effects(
    model: TransformerDecoder,
    ids: Int[Tensor, "B T"],
    metric: Metric,
    *,
    means: Float[Tensor, "L H E"] | None = None,
) -> Float[Tensor, "L H"]:
    """Ablate each head alone, and compute how much a metric of the logits changes.

    Args:
        model: The decoder.
        ids: Inputs on which the metric is computed.
        metric: Function from logits to a number.
        means: Replacements for mean ablation; None replaces by zeros.

    Returns:
        The metric with the head ablated minus the metric of the whole model.
    """
    whole = metric(model(ids))
    effects = torch.zeros(model.config.n_layers, model.config.n_heads)
    for layer in range(model.config.n_layers):
        for head in range(model.config.n_heads):
            with ablate_heads(model, [(layer, head)], means=means):
                effects[layer, head] = metric(model(ids)) - whole
    return effects


@torch.no_grad()
def sublayer_effects(
    model: TransformerDecoder, ids: Int[Tensor, "B T"], metric: Metric
) -> Float[Tensor, "L 2"]:
    """Zero-ablate the attention and the feed-forward layer of each block, one at a time.

    Args:
        model: The decoder.
        ids: Inputs on which the metric is computed.
        metric: Function from logits to a number.

    Returns:
        Change of the metric for attention (first column) and feed-forward layer (second column).
    """
    whole = metric(model(ids))
    effects = torch.zeros(model.config.n_layers, 2)
    for layer, block in enumerate(blocks_of(model)):
        for column, sublayer in enumerate((block.attention.o_proj, block.feed_forward)):
            with edit_output(sublayer, torch.zeros_like):
                effects[layer, column] = metric(model(ids)) - whole
    return effects
