r"""The logit lens: read the residual stream after each layer as if it were the last.

$$\text{lens}_l = \operatorname{norm}(x_l)\, W_U^\top$$

Reference: nostalgebraist 2020, "interpreting GPT: the logit lens".

Leaves out: the tuned lens (Belrose et al. 2023, arXiv:2303.08112), which trains an affine map for each layer.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from llmguide.arguments import check_type
from llmguide.interpretability.activations import Activations
from llmguide.models.transformer_decoder import TransformerDecoder


@torch.no_grad()
def logit_lens(model: TransformerDecoder, activations: Activations) -> Float[Tensor, "L_plus_1 B T V"]:
    """Apply the final norm and the output head to the residual stream before each block and after the last.

    Args:
        model: The decoder that the activations come from.
        activations: One recorded forward pass.

    Returns:
        Logits of each layer. The last entry is the model's own output.

    >>> from llmguide import ModelConfig, build, logit_lens, record_activations
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))
    >>> activations = record_activations(model, torch.tensor([[1, 2, 3]]))
    >>> lens = logit_lens(model, activations)
    >>> lens.shape, torch.allclose(lens[-1], activations.logits, atol=1e-6)  # (L + 1, B, T, V)
    (torch.Size([3, 1, 3, 11]), True)
    """
    check_type("activations", activations, Activations, "record_activations(model, ids) records them")
    normed: Tensor = model.final_norm(activations.residual)
    return model.unembed(normed)
