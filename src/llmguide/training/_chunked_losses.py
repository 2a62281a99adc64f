r"""Autograd functions for losses of an output head, which hold the logits of one chunk of tokens at a time.

`linear_cross_entropy` computes the gradient of a chunk in the forward pass, because the loss is a scalar, and
discards the logits. `token_logprobs` recomputes the logits of a chunk in the backward pass. The readable
versions are in `llmguide.training.losses`.

Glossary: ``N`` tokens, ``D`` model width, ``V`` vocabulary.
"""

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmguide.arguments import has_readable_values
from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.nn._linear import linear


def chunk_size(weight: Tensor) -> int:
    """Return the number of tokens whose logits are in memory at a time: as many as have 2^24 logits."""
    return max(1, 2**24 // len(weight))


def _matmul_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    """Return the dtype in which autocast would run this matmul."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return torch.promote_types(hidden.dtype, weight.dtype)


class LinearCrossEntropy(torch.autograd.Function):
    """Compute the mean cross-entropy, and its gradient in the same pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
        dtype = _matmul_dtype(hidden, weight)
        h, w = hidden.to(dtype), weight.to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(h) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if wants_weight else None

        loss = torch.zeros((), dtype=wide, device=hidden.device)
        # one buffer for all chunks: allocating one of this size for each would cost page faults
        log_probs = h.new_empty(min(chunk, len(h)), len(w), dtype=wide)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(targets), chunk):
                part = slice(start, start + chunk)
                x, y = h[part], targets[part]
                n = len(y)
                target = torch.arange(n, device=y.device), y
                torch.log_softmax(linear(x, w), dim=-1, dtype=wide, out=log_probs[:n])
                loss -= log_probs[target].sum()
                if not (wants_hidden or wants_weight):
                    continue
                # the gradient of -log softmax(z)_y with respect to z is softmax(z) - onehot(y)
                gradient = log_probs[:n].exp_()
                gradient[target] -= 1
                gradient /= len(targets)
                gradient = gradient.to(dtype)
                if grad_hidden is not None:
                    grad_hidden[part] = linear(gradient, w.T)
                if grad_weight is not None and dtype == grad_weight.dtype:
                    grad_weight.addmm_(gradient.T, x)
                elif grad_weight is not None:
                    grad_weight += gradient.T @ x
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = hidden.dtype, weight.dtype
        return loss / len(targets)

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


class TokenLogprobs(torch.autograd.Function):
    """Compute the log-probability of each target, and the entropy of each distribution."""

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
    """Yield the log softmax of each chunk of tokens, with autocast off."""
    w = weight.to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    for start in range(0, len(hidden), chunk):
        part = slice(start, start + chunk)
        with torch.autocast(hidden.device.type, enabled=False):
            logits = linear(hidden[part].to(dtype), w).to(wide)
            yield part, torch.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)


def token_stats(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    chunk: int | None,
    temperature: float,
    *,
    with_entropy: bool,
) -> tuple[Tensor, Tensor]:
    """Compute `TokenLogprobs` of the unmasked targets; 0 elsewhere."""
    require_positive(temperature)
    options = chunk or chunk_size(weight), temperature, with_entropy
    apply: Any = TokenLogprobs.apply  # torch leaves it untyped
    counted = targets != IGNORE_INDEX
    rows, labels = select(counted, hidden, targets)
    stats = apply(rows, weight, labels, options)
    logprobs, entropy = (stat.new_zeros(targets.shape).masked_scatter(counted, stat) for stat in stats)
    return logprobs, entropy


def require_positive(temperature: float) -> None:
    """Raise ValueError for a temperature of 0 or below."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be above 0; greedy has no log-probabilities")


def select(
    counted: Bool[Tensor, "*batch"], hidden: Float[Tensor, "*batch D"], targets: Int[Tensor, "*batch"]
) -> tuple[Float[Tensor, "N D"], Int[Tensor, " N"]]:
    """Return the hidden states and targets of some tokens; a GPU is waited for once, for their number."""
    (rows,) = torch.where(counted.flatten())
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, rows), targets.flatten().index_select(0, rows)


def require_targets(targets: Int[Tensor, "*batch"], vocab_size: int) -> Bool[Tensor, "*batch"]:
    """Return which targets are not masked, as `counted_targets` does, and raise ValueError if none is."""
    counted = counted_targets(targets, vocab_size)
    if not counted.any():
        raise_without_targets(targets)
    return counted


def raise_without_targets(targets: Int[Tensor, "*batch"]) -> NoReturn:
    """Raise ValueError for targets that are all masked."""
    raise ValueError(f"all {targets.numel()} targets are {IGNORE_INDEX}, so there is no loss")


def counted_targets(targets: Int[Tensor, "*batch"], vocab_size: int) -> Bool[Tensor, "*batch"]:
    """Return which targets are not masked.

    Raises:
        ValueError: A target is neither masked nor in the vocabulary. A GPU stops with an assertion instead.
    """
    counted = targets != IGNORE_INDEX
    if has_readable_values(targets) and ((targets >= vocab_size) | (targets < 0) & counted).any():
        raise ValueError(
            f"targets from {int(targets[counted].min())} to {int(targets.max())} are outside the vocabulary, "
            f"0 to {vocab_size - 1}; mask with {IGNORE_INDEX}"
        )
    return counted
