r"""The pretraining loss and log-probabilities of tokens, without ever holding all logits.

$$L = -\frac{1}{|M|} \sum_{t \in M} \log \operatorname{softmax}(W h_t)_{y_t}$$

With a vocabulary of 50,257 the logits of 8 x 1024 tokens take 1.6 GB in float32, and their gradient as much
again: more than a small model. `linear_cross_entropy` goes through the tokens in chunks, and because the loss
is a scalar it can compute the gradient of a chunk at once and forget its logits. `token_logprobs` gives one
number a token, of which other losses are made; it computes the logits of a chunk again in the backward pass.

References: Radford et al. 2018, "Improving language understanding by generative pre-training", equation 1;
Wijmans et al. 2024, arXiv:2411.09009 (the problem; their kernel goes further and keeps not even one chunk in
memory).

Glossary: ``N`` tokens, ``D`` model width, ``V`` vocabulary, $h_t$ hidden state, $y_t$ next token, $W$ output
head, $M$ the tokens that count.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llmguide.data.tokens.windows import IGNORE_INDEX, Batch
from llmguide.nn._linear import linear


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

    >>> from llmguide import next_token_loss
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
    return linear_cross_entropy(model.hidden(inputs).flatten(0, 1), head_weight(model), targets)


def batch_loss(model: Any, batch: Batch) -> tuple[Float[Tensor, ""], int]:
    """Mean cross entropy over the targets of a batch that count: the loss that `train` lowers by default.

    Args:
        model: A decoder of `llmguide.models`, whose logits are never held at once, or anything that maps ids
            to logits.
        batch: Token ids and targets, with document ids if rows are packed and attention must stay inside each
            document.

    Returns:
        The mean in nats, and the number of targets that it is over; 0 and a loss of 0 if there is none.

    >>> def guess(ids):
    ...     return torch.zeros(*ids.shape, 4)
    >>> loss, n = batch_loss(guess, Batch(torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2, -100]])))
    >>> round(loss.item(), 4), n  # log 4
    (1.3863, 2)
    """
    packing = {} if batch.document_ids is None else {"document_ids": batch.document_ids}
    targets = batch.targets.flatten()
    n_counted = int((targets != IGNORE_INDEX).sum())
    if not hasattr(model, "hidden"):
        logits = model(batch.inputs, **packing).flatten(0, 1).float()
        loss = F.cross_entropy(logits, targets, ignore_index=IGNORE_INDEX, reduction="sum")
        return loss / max(n_counted, 1), n_counted
    hidden = model.hidden(batch.inputs, **packing).flatten(0, 1)
    if n_counted == 0:
        return hidden.sum() * 0.0, 0
    return linear_cross_entropy(hidden, head_weight(model), targets), n_counted


def head_weight(model: Any) -> Float[Tensor, "V D"]:
    """Return the weight of a model's output head, which may be its table of tokens."""
    weight: Tensor = (model.tokens if model.head is None else model.head).weight
    return weight


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
    if not (targets != IGNORE_INDEX).any():
        raise ValueError(f"all {len(targets)} targets are {IGNORE_INDEX}, so there is nothing to learn from")
    apply: Any = _LinearCrossEntropy.apply  # torch leaves it untyped
    loss: Tensor = apply(hidden, weight, targets, chunk or _chunk(weight))
    return loss


def token_logprobs(
    hidden: Float[Tensor, "*batch D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, "*batch"],
    *,
    chunk: int | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, "*batch"]:
    r"""Log-probability of each target, $\log \operatorname{softmax}(W h_t / \tau)_{y_t}$, chunk by chunk.

    Neither pass holds more logits than those of one chunk: the backward pass computes them again. Rows whose
    target is -100 never meet the head. Second derivatives are not available.

    Args:
        hidden: Hidden states, one for each target.
        weight: Output head.
        targets: A token for each, or -100.
        chunk: Tokens whose logits exist at one time, as in `linear_cross_entropy`.
        temperature: $\tau$, that of the sampler if the targets were sampled.

    Returns:
        Log-probabilities in float32 or wider, 0 where the target is -100.

    >>> hidden, weight = torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0986123], [0.0]])
    >>> token_logprobs(hidden, weight, torch.tensor([0, -100])).tolist()  # 3 to 1: log 0.75
    [-0.2877, 0.0]
    """
    return _token_stats(hidden, weight, targets, chunk, temperature, with_entropy=False)[0]


def token_logprobs_and_entropy(
    hidden: Float[Tensor, "*batch D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, "*batch"],
    *,
    chunk: int | None = None,
    temperature: float = 1.0,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Compute `token_logprobs` and the entropy, in nats, of the distribution that each target came from.

    Both have gradients. The entropy is 0 where the target is -100.

    >>> hidden, weight = torch.zeros(2, 1), torch.tensor([[1.0], [2.0]])
    >>> token_logprobs_and_entropy(hidden, weight, torch.tensor([1, -100]))[1].tolist()  # log 2
    [0.6931, 0.0]
    """
    return _token_stats(hidden, weight, targets, chunk, temperature, with_entropy=True)


def _token_stats(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    chunk: int | None,
    temperature: float,
    *,
    with_entropy: bool,
) -> tuple[Tensor, Tensor]:
    if not temperature > 0:
        raise ValueError(
            f"temperature={temperature} must be above 0; greedy choices have no log-probabilities"
        )
    kept = targets != IGNORE_INDEX
    apply: Any = _TokenLogprobs.apply  # torch leaves it untyped
    found = apply(hidden[kept], weight, targets[kept], (chunk or _chunk(weight), temperature, with_entropy))
    logprobs, entropy = (part.new_zeros(targets.shape).masked_scatter(kept, part) for part in found)
    return logprobs, entropy


def _chunk(weight: Tensor) -> int:
    return max(1, 2**24 // len(weight))


def _matmul_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """Return what a matrix product would be computed in here."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return torch.promote_types(hidden.dtype, weight.dtype)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
        dtype = _matmul_dtype(hidden, weight)
        h, w = hidden.to(dtype), weight.to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(h) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if wants_weight else None

        loss = torch.zeros((), dtype=wide, device=hidden.device)
        count = (targets != IGNORE_INDEX).sum()
        # one buffer for all chunks: fresh ones of this size cost page faults that show in the time
        log_probs = h.new_empty(min(chunk, len(h)), len(w), dtype=wide)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(targets), chunk):
                part = slice(start, start + chunk)
                x, y = h[part], targets[part]
                n, kept = len(y), y != IGNORE_INDEX
                place = torch.arange(n, device=y.device), y.clamp(min=0)
                torch.log_softmax(linear(x, w), dim=-1, dtype=wide, out=log_probs[:n])
                loss -= log_probs[place].where(kept, 0.0).sum()
                if not (wants_hidden or wants_weight):
                    continue
                # the gradient of -log softmax(z)_y with respect to z is softmax(z) - onehot(y)
                gradient = log_probs[:n].exp_()
                gradient[place] -= 1
                gradient *= (kept / count)[:, None]
                gradient = gradient.to(dtype)
                if grad_hidden is not None:
                    grad_hidden[part] = linear(gradient, w.T)
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


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        options: tuple[int, float, bool],
    ) -> tuple[Tensor, Tensor]:
        chunk, temperature, with_entropy = ctx.options = options
        ctx.dtype = _matmul_dtype(hidden, weight)
        wide = torch.promote_types(ctx.dtype, torch.float32)
        logprobs = torch.empty(len(targets), dtype=wide, device=hidden.device)
        entropy = torch.zeros_like(logprobs)
        for part, log_probs in _log_probs(hidden, weight, chunk, temperature, ctx.dtype):
            logprobs[part] = log_probs.gather(1, targets[part, None])[:, 0]
            if with_entropy:
                entropy[part] = -torch.linalg.vecdot(log_probs.exp(), log_probs)
        ctx.save_for_backward(hidden, weight, targets, entropy)
        return logprobs, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_logprobs: Tensor, grad_entropy: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden, weight, targets, entropy = ctx.saved_tensors
        chunk, temperature, with_entropy = ctx.options
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=entropy.dtype) if wants_weight else None
        h, w = hidden.to(ctx.dtype), weight.to(ctx.dtype)
        for part, log_probs in _log_probs(hidden, weight, chunk, temperature, ctx.dtype):
            # with respect to the logits z: d log p_y = onehot(y) - p and d entropy = -p (log p + entropy)
            probs = log_probs.exp()
            gradient = probs * -grad_logprobs[part, None]
            if with_entropy:
                gradient -= probs * (log_probs + entropy[part, None]) * grad_entropy[part, None]
            gradient.scatter_add_(1, targets[part, None], grad_logprobs[part, None])
            gradient = (gradient / temperature).to(ctx.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = linear(gradient, w.T)
            if grad_weight is not None:
                grad_weight += gradient.T @ h[part]
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight.dtype)
        return grad_hidden, grad_weight, None, None


def _log_probs(
    hidden: Tensor, weight: Tensor, chunk: int, temperature: float, dtype: torch.dtype
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the log softmax of one chunk of tokens after the other, with autocast off meanwhile."""
    w = weight.to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    for start in range(0, len(hidden), chunk):
        part = slice(start, start + chunk)
        with torch.autocast(hidden.device.type, enabled=False):
            logits = linear(hidden[part].to(dtype), w).to(wide)
            yield part, torch.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)
