"""The LoRA update in one fused call, equal to `llmguide.post_training.adapters.lora_layer.add_low_rank`."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def add_low_rank_(
    out: Float[Tensor, "N D_out"],
    x: Float[Tensor, "N D_in"],
    A: Float[Tensor, "r D_in"],
    B: Float[Tensor, "D_out r"],
    scaling: float,
) -> Float[Tensor, "N D_out"]:
    """Add the LoRA update to the output of a linear layer, in place; arguments as in `add_low_rank`.

    The second product, the scaling and the sum are one call (`addmm_`), which touches ``out`` once; written
    out, three tensors of that size would be made, and as many in the backward pass.
    """
    low = F.linear(x, A.to(x.dtype)).to(out.dtype)  # autocast may have made out narrower than x
    # a transposed view would give the gradient of B that layout, and its product would take twice as long
    return out.addmm_(low, B.to(out.dtype).T.contiguous(), alpha=scaling)
