r"""Direct logit attribution: split a logit into the contributions of the embedding, heads and layers.

The last residual stream is the sum of everything that was added to it, and the logit is linear in that sum
once the scale of the final norm is held fixed. So the logit of token t is a sum of dot products,

$$\text{logit}_t = \sum_c c \cdot g + b \cdot u, \qquad
g = \frac{w \odot u - \overline{w \odot u}}{\sqrt{\sigma^2 + \epsilon}},$$

where c are the components, u is the row of t in the output head, w and b are weight and bias of the final
norm, and $\sigma^2$ is the variance of the residual stream. Subtracting the mean from the components or from
the direction is the same. RMSNorm subtracts no mean and has no bias.

References: Elhage et al. 2021, "A mathematical framework for transformer circuits", section "High-level
architecture"; Wang et al. 2022, arXiv:2211.00593 (used on a circuit of GPT-2).

Leaves out: effects through later layers, which is what ablation and patching measure.
"""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.interpretability.activations import Activations
from llmguide.interpretability.hooks import blocks_of
from llmguide.models.transformer_decoder import TransformerDecoder
from llmguide.nn.norms import LayerNorm, RMSNorm


@torch.no_grad()
def direct_logit_attribution(
    model: TransformerDecoder, activations: Activations, target_ids: Int[Tensor, "B T"]
) -> Float[Tensor, "components B T"]:
    """Compute how much each component adds directly to the logit of a target token.

    Args:
        model: A pre-norm decoder, from which the activations come.
        activations: One recorded forward pass.
        target_ids: Token at each position whose logit is explained.

    Returns:
        Contributions in the order of `component_names`. Their sum over components is the logit.

    Raises:
        ValueError: If the model is post-norm: its residual stream is not a sum of components.

    >>> from llmguide import ModelConfig, build, direct_logit_attribution, record_activations
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))
    >>> ids, targets = torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]])
    >>> activations = record_activations(model, ids)
    >>> parts = direct_logit_attribution(model, activations, targets)
    >>> logits = activations.logits.gather(-1, targets[..., None])[..., 0]
    >>> torch.allclose(parts.sum(dim=0), logits, atol=1e-5)
    True
    """
    if model.config.norm_position != "pre":
        raise ValueError('direct logit attribution needs norm_position="pre": post-norm rescales every sum')
    norm = cast(LayerNorm | RMSNorm, model.final_norm)
    head = model.tokens if model.head is None else model.head
    x, row = activations.residual[-1], head.weight[target_ids]
    direction = norm.weight * row
    if isinstance(norm, LayerNorm):
        x = x - x.mean(dim=-1, keepdim=True)
        direction = direction - direction.mean(dim=-1, keepdim=True)
    direction = direction * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + norm.eps)

    parts = [(activations.residual[0] * direction).sum(dim=-1)]
    for layer, block in enumerate(blocks_of(model)):
        o_proj = block.attention.o_proj
        heads = activations.head_outputs[layer]
        parts += (heads * (direction @ o_proj.weight).view(heads.shape)).sum(dim=-1).unbind(dim=-1)
        if o_proj.bias is not None:
            parts.append(direction @ o_proj.bias)
        parts.append((activations.feed_forward_outputs[layer] * direction).sum(dim=-1))
    if isinstance(norm, LayerNorm):
        parts.append(row @ norm.bias)
    return torch.stack(parts)


def component_names(model: TransformerDecoder) -> list[str]:
    """Name the components of `direct_logit_attribution`; layers and heads are counted from 0.

    >>> from llmguide import ModelConfig, build
    >>> config = ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=2)
    >>> component_names(build(config))
    ['embedding', 'L0H0', 'L0H1', 'L0 attention bias', 'L0 feed-forward', 'final norm bias']
    """
    names = ["embedding"]
    for layer, block in enumerate(blocks_of(model)):
        names += [f"L{layer}H{head}" for head in range(model.config.n_heads)]
        names += [f"L{layer} attention bias"] * (block.attention.o_proj.bias is not None)
        names.append(f"L{layer} feed-forward")
    return names + ["final norm bias"] * isinstance(model.final_norm, LayerNorm)
