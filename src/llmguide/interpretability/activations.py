"""Record what a decoder computes in one forward pass: residual stream, attention patterns, sublayer outputs.

The residual stream is the vector of each token that the blocks read from and add to (Elhage et al. 2021,
"A mathematical framework for transformer circuits", section "High-level architecture").

Glossary: ``L`` layers, ``B`` batch, ``T`` tokens, ``D`` model width, ``H`` heads, ``E`` head width, ``V``
vocabulary.

Leaves out: queries, keys, and the hidden neurons of the feed-forward layers.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.evaluation.likelihood import evaluated
from llmguide.interpretability.hooks import blocks_of, edit_input, edit_output, residual_sites
from llmguide.models.transformer_decoder import TransformerDecoder


@dataclass(frozen=True)
class Activations:
    """Tensors of one forward pass, stacked over layers.

    Attributes:
        residual: Residual stream before each block, and after the last one.
        patterns: Attention weights, row i from query i to every key.
        head_outputs: Weighted sum of the values of each head, before the output projection.
        attention_outputs: Vectors that attention adds to the residual stream.
        feed_forward_outputs: Vectors that the feed-forward layer adds to the residual stream.
        logits: Output of the model.
    """

    residual: Float[Tensor, "L_plus_1 B T D"]
    patterns: Float[Tensor, "L B H T T"]
    head_outputs: Float[Tensor, "L B T H E"]
    attention_outputs: Float[Tensor, "L B T D"]
    feed_forward_outputs: Float[Tensor, "L B T D"]
    logits: Float[Tensor, "B T V"]


@torch.no_grad()
def record_activations(model: TransformerDecoder, ids: Int[Tensor, "B T"]) -> Activations:
    """Run a decoder and record its activations.

    Attention is computed by the reference path, which stores the weights, so the logits can differ from the
    model's own by rounding.

    Args:
        model: A GPT or Llama without active dropout.
        ids: Token ids, 0 to V - 1.

    Raises:
        ValueError: If dropout is active.

    >>> from llmguide import ModelConfig, build, record_activations
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))
    >>> activations = record_activations(model, torch.tensor([[1, 2, 3, 4]]))
    >>> activations.residual.shape, activations.patterns.shape  # (L + 1, B, T, D), (L, B, H, T, T)
    (torch.Size([3, 1, 4, 12]), torch.Size([2, 1, 3, 4, 4]))
    """
    evaluated(model)
    residual: list[Tensor] = []
    patterns: list[Tensor] = []
    heads: list[Tensor] = []
    attention: list[Tensor] = []
    feed_forward: list[Tensor] = []
    with ExitStack() as hooks:
        for site in residual_sites(model):
            hooks.enter_context(edit_input(site, residual.append))
        for block in blocks_of(model):
            handle = block.attention.register_forward_pre_hook(_need_weights, with_kwargs=True)
            hooks.callback(handle.remove)
            handle = block.attention.register_forward_hook(lambda _, args, out: patterns.append(out[1]))
            hooks.callback(handle.remove)
            hooks.enter_context(edit_input(block.attention.o_proj, heads.append))
            hooks.enter_context(edit_output(block.attention.o_proj, attention.append))
            hooks.enter_context(edit_output(block.feed_forward, feed_forward.append))
        logits: Tensor = model(ids)
    split = (*ids.shape, model.config.n_heads, model.config.head_dim)
    return Activations(
        residual=torch.stack(residual),
        patterns=torch.stack(patterns),
        head_outputs=torch.stack(heads).view(-1, *split),
        attention_outputs=torch.stack(attention),
        feed_forward_outputs=torch.stack(feed_forward),
        logits=logits,
    )


def _need_weights(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs | {"need_weights": True}
