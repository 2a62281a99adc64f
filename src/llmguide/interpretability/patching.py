r"""Activation patching: copy activations of one prompt into the run of another, and see what they carry.

The clean and the corrupted prompt differ in a few tokens and lead to different predictions. The corrupted
prompt is run once for each layer and position, with the residual stream there replaced by that of the clean
prompt. The result is the fraction of the difference that this restores:

$$\text{restored} = \frac{m_\text{patched} - m_\text{corrupted}}{m_\text{clean} - m_\text{corrupted}}$$

References: Meng et al. 2022, arXiv:2202.05262 (causal tracing); Wang et al. 2022,
arXiv:2211.00593 (prompts that differ in a name); Zhang and Nanda 2023, arXiv:2309.16042 (choice of metric).

Leaves out: patching single heads, path patching, and approximations by gradients.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.interpretability.ablation import Metric
from llmguide.interpretability.activations import record_activations
from llmguide.interpretability.hooks import edit_input, residual_sites
from llmguide.models.transformer_decoder import TransformerDecoder


@torch.no_grad()
def patch_residual(
    model: TransformerDecoder,
    clean_ids: Int[Tensor, "B T"],
    corrupted_ids: Int[Tensor, "_ _"],
    metric: Metric,
    *,
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
) -> Float[Tensor, "n_layers n_positions"]:
    """Compute the fraction of the metric that each patched layer and position restores.

    Args:
        model: The decoder.
        clean_ids: Prompt whose activations are copied.
        corrupted_ids: Prompt of the same length, into whose run they are copied.
        metric: Function from logits to a number, such as the difference of two logits.
        layers: Places in the residual stream, as the number of blocks that have run, 0 to L; None: all.
        positions: Positions of the prompt; None: all. Each place and position takes one forward pass.

    Returns:
        0 where patching changes nothing and 1 where it restores the clean metric; other values are possible.
        Row i patches the residual stream after ``layers[i]`` blocks.

    Raises:
        ValueError: If the prompts differ in shape, or the metric does not tell them apart.

    >>> from llmguide import ModelConfig, build, patch_residual
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))
    >>> clean, corrupted = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 4, 3]])
    >>> restored = patch_residual(model, clean, corrupted, lambda logits: logits[0, -1, 5])
    >>> restored.shape, round(restored[-1, -1].item(), 3)  # (L + 1, T); the last position is the output
    (torch.Size([3, 3]), 1.0)
    """
    if clean_ids.shape != corrupted_ids.shape:
        raise ValueError(
            f"clean_ids {tuple(clean_ids.shape)}, corrupted_ids {tuple(corrupted_ids.shape)} must match in "
            "shape: choose prompts with equally many tokens"
        )
    clean, corrupted = metric(model(clean_ids)), metric(model(corrupted_ids))
    if clean == corrupted:
        raise ValueError(f"the metric is {float(clean):.4g} on both prompts: there is nothing to restore")
    source = record_activations(model, clean_ids).residual
    sites = residual_sites(model)
    layers = range(len(sites)) if layers is None else layers
    positions = range(clean_ids.shape[1]) if positions is None else positions
    restored = torch.zeros(len(layers), len(positions))
    for row, layer in enumerate(layers):
        for column, position in enumerate(positions):

            def patch(x: Tensor, layer: int = layer, position: int = position) -> Tensor:
                x = x.clone()
                x[:, position] = source[layer, :, position]
                return x

            with edit_input(sites[layer], patch):
                restored[row, column] = (metric(model(corrupted_ids)) - corrupted) / (clean - corrupted)
    return restored
