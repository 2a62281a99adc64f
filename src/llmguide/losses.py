r"""The pretraining loss, as a formula and without ever holding all logits.

$$L = -\frac{1}{|M|} \sum_{t \in M} \log \operatorname{softmax}(W h_t)_{y_t}$$

With a vocabulary of 50,257 the logits of 8 x 1024 tokens take 1.6 GB in float32, and their gradient as much
again: more than a small model. `linear_cross_entropy` goes through the tokens in chunks, and because the loss
is a scalar it can compute the gradient of a chunk at once and forget its logits.

References: Radford et al. 2018, "Improving language understanding by generative pre-training", equation 1;
    Wijmans et
al. 2024, arXiv:2411.09009 (the problem; their kernel goes further and keeps not even one chunk in memory).

Glossary: ``N`` tokens, ``D`` model width, ``V`` vocabulary, $h_t$ hidden state, $y_t$ next token, $W$ output
    head, $M$
the tokens that count.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

IGNORED = -100  # the label that torch's own cross entropy ignores


def next_token_loss(model: Any, ids: Int[Tensor, "B T"], *, chunked: bool = True) -> Float[Tensor, ""]:
    """Mean cross entropy, in nats, of predicting each token from those before it.

    Args:
        model: A decoder of `llmguide.models`; with ``chunked=False`` anything that maps ids to logits.
        ids: Texts of at least two tokens. The last position predicts nothing and is not run.
        chunked: Whether to go through `linear_cross_entropy`, or to compute all logits, the plain way.

    Returns:
        The loss; a model that guesses has log V.

    Raises:
        ValueError: If the texts have fewer than two tokens.

    >>> def guess(ids):
    ...     return torch.zeros(*ids.shape, 4)
    >>> round(next_token_loss(guess, torch.tensor([[0, 1, 2]]), chunked=False).item(), 4)  # log 4
    1.3863
    """
    if ids.shape[1] < 2:
        raise ValueError(f"ids {tuple(ids.shape)}: predicting a next token takes texts of at least 2 tokens")
    inputs, targets = ids[:, :-1], ids[:, 1:].flatten()
    if not chunked:
        return F.cross_entropy(model(inputs).flatten(0, 1).float(), targets)
    head = model.tokens if model.head is None else model.head
    return linear_cross_entropy(model.hidden(inputs).flatten(0, 1), head.weight, targets)


def linear_cross_entropy(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, " N"],
    *,
    chunk: int | None = None,
) -> Float[Tensor, ""]:
    """Equal ``F.cross_entropy(hidden @ weight.T, targets)`` with the logits of one chunk at a time.

    The gradients are computed in the forward pass, so second derivatives are not available.

    Args:
        hidden: Hidden states.
        weight: Output head.
        targets: The right token for each, or -100 for those that do not count.
        chunk: Tokens whose logits exist at one time; None: as many as have 2^24 logits together, 64 MiB in
            float32. At V = 50,304 and D = 384 on a CPU that takes 0.7 of the time of the plain way, and
            larger chunks are no faster.

    Returns:
        The mean over the tokens that count, in float32 or wider.

    Raises:
        ValueError: If no token counts.

    >>> hidden, weight = torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0986123], [0.0]])
    >>> linear_cross_entropy(hidden, weight, torch.tensor([0, -100])).item()  # 3 to 1: -log 0.75
    0.2877
    """
    if not (targets != IGNORED).any():
        raise ValueError(f"all {len(targets)} targets are {IGNORED}, so there is nothing to learn from")
    if chunk is None:
        chunk = max(1, 2**24 // len(weight))
    apply: Any = _LinearCrossEntropy.apply  # torch leaves it untyped
    loss: Tensor = apply(hidden, weight, targets, chunk)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
        device = hidden.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        else:
            dtype = torch.promote_types(hidden.dtype, weight.dtype)
        h, w = hidden.to(dtype), weight.to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(h) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if wants_weight else None

        loss = torch.zeros((), dtype=wide, device=hidden.device)
        count = (targets != IGNORED).sum()
        # two buffers for all chunks: fresh ones of this size cost page faults that show in the time
        logits = h.new_empty(min(chunk, len(h)), len(w))
        log_probs = torch.empty_like(logits, dtype=wide)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(targets), chunk):
                part = slice(start, start + chunk)
                x, y = h[part], targets[part]
                n, kept = len(y), y != IGNORED
                place = torch.arange(n, device=y.device), y.clamp(min=0)
                torch.mm(x, w.T, out=logits[:n])
                torch.log_softmax(logits[:n], dim=-1, dtype=wide, out=log_probs[:n])
                loss -= log_probs[place].where(kept, 0.0).sum()
                if not (wants_hidden or wants_weight):
                    continue
                # the gradient of -log softmax(z)_y with respect to z is softmax(z) - onehot(y)
                gradient = log_probs[:n].exp_()
                gradient[place] -= 1
                gradient *= (kept / count)[:, None]
                gradient = gradient.to(dtype)
                if grad_hidden is not None:
                    torch.mm(gradient, w, out=grad_hidden[part])
                if grad_weight is not None and dtype == grad_weight.dtype:
                    grad_weight.addmm_(gradient.T, x)
                elif grad_weight is not None:
                    grad_weight += gradient.T @ x
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = hidden.dtype, weight.dtype
        return loss / count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        hidden_dtype, weight_dtype = ctx.dtypes
        return (
            None if grad_hidden is None else (grad_hidden * grad).to(hidden_dtype),
            None if grad_weight is None else (grad_weight * grad).to(weight_dtype),
            None,
            None,
        )
