r"""Cross-entropy and log-probabilities of tokens, without ever holding all logits.

$$L = -\frac{1}{|M|} \sum_{t \in M} \log \operatorname{softmax}(W h_t)_{y_t}$$

With a vocabulary of 50,257 the logits of 8 x 1024 tokens take 1.6 GB in float32, and their gradient as much
again: more than a small model. `cross_entropy` is the formula on all logits. `linear_cross_entropy` goes
through the tokens in chunks; because the loss is a scalar, it can compute the gradient of a chunk immediately
and discard the logits. `token_logprobs` returns one number per token, from which other losses are computed;
it recomputes the logits of a chunk in the backward pass.

References: Radford et al. 2018, "Improving language understanding by generative pre-training", equation 1;
Wijmans et al. 2024, arXiv:2411.09009 (the problem; their kernel does not store even one chunk in memory).

Glossary: ``N`` tokens, ``D`` model width, ``V`` vocabulary, $h_t$ hidden state, $y_t$ next token, $W$ output
head, $M$ the unmasked targets.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmguide.arguments import check_ids
from llmguide.data.tokens.windows import IGNORE_INDEX, Batch
from llmguide.models.decoder_protocol import require_own
from llmguide.nn.q4 import Q4Linear
from llmguide.training._chunked_losses import LinearCrossEntropy, TokenLogprobs, chunk_size


def cross_entropy(logits: Float[Tensor, "*batch V"], targets: Int[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Compute the mean cross-entropy over the targets that are not masked: the formula, on all logits.

    Args:
        logits: Unnormalized log-probabilities of the next token.
        targets: Token id that follows each position, or -100 where there is no loss.

    Returns:
        The mean in nats, in float32 or wider.

    Raises:
        ValueError: Every target is masked.

    >>> logits = torch.tensor([[0.0, 0.0], [1.0986123, 0.0]])
    >>> cross_entropy(logits, torch.tensor([-100, 0])).item()  # 3 to 1: -log 0.75
    0.2877
    """
    _require_targets(targets, logits.shape[-1])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE_INDEX)


def linear_cross_entropy(
    hidden: Float[Tensor, "*batch D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, "*batch"],
    *,
    chunk: int | None = None,
) -> Float[Tensor, ""]:
    """Compute ``cross_entropy(hidden @ weight.T, targets)`` with the logits of one chunk at a time.

    Positions whose target is masked, such as those of a prompt, are dropped before the output head. The
    gradients are computed in the forward pass, so second derivatives are not available.

    Args:
        hidden: Last hidden states.
        weight: Weight of the output head.
        targets: Token id that follows each position, or -100 where there is no loss.
        chunk: Number of tokens whose logits are in memory at a time; None: as many as have 2^24 logits, 64
            MiB in float32. At V = 50,304 and D = 384 on a CPU, that takes 0.7 of the time of `cross_entropy`,
            and larger chunks are no faster.

    Returns:
        The mean over unmasked targets in nats, in float32 or wider.

    Raises:
        ValueError: Every target is masked.

    >>> hidden, weight = torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0986123], [0.0]])
    >>> linear_cross_entropy(hidden, weight, torch.tensor([0, -100])).item()  # 3 to 1: -log 0.75
    0.2877
    """
    counted = _require_targets(targets, len(weight))
    apply: Any = LinearCrossEntropy.apply  # torch leaves it untyped
    loss: Tensor = apply(hidden[counted], weight, targets[counted], chunk or chunk_size(weight))
    return loss


def next_token_loss(
    model: Callable[[Tensor], Tensor], ids: Int[Tensor, "B T"], *, chunked: bool = True
) -> Float[Tensor, ""]:
    """Compute the mean cross-entropy, in nats, of predicting each token from those before it.

    Args:
        model: A decoder of `llmguide.models`; with ``chunked=False`` anything that maps ids to logits.
        ids: Token ids of texts of at least two tokens. The last position predicts nothing and is not run.
        chunked: Whether to use `linear_cross_entropy` instead of `cross_entropy` on all logits.

    Returns:
        The loss; log V for a uniform prediction.

    Raises:
        TypeError: The model gives no hidden states, and ``chunked`` is not False.
        ValueError: The texts have fewer than two tokens, or the model is one of transformers, which
            `llmguide.from_hf` converts.

    >>> from llmguide import next_token_loss
    >>> def uniform(ids):
    ...     return torch.zeros(*ids.shape, 4)
    >>> round(next_token_loss(uniform, torch.tensor([[0, 1, 2]]), chunked=False).item(), 4)  # log 4
    1.3863
    """
    check_ids(ids)
    require_own(model)
    if ids.shape[1] < 2:
        raise ValueError(f"ids {tuple(ids.shape)}: predicting a next token takes texts of at least 2 tokens")
    inputs, targets = ids[:, :-1], ids[:, 1:]
    if not chunked:
        return cross_entropy(model(inputs), targets)
    if not hasattr(model, "hidden"):
        raise TypeError(f"model is a {type(model).__name__} without hidden states; pass chunked=False")
    return head_cross_entropy(model, model.hidden(inputs), targets)


def batch_loss(model: Any, batch: Batch) -> tuple[Float[Tensor, ""], int]:
    """Compute the mean cross-entropy over the unmasked targets of a batch, the default loss of `train`.

    Args:
        model: A decoder of `llmguide.models`, whose logits are never held at once, or anything that maps ids
            to logits.
        batch: Inputs and targets. Rows of packed sequences come with document ids, so that attention stays
            inside each document.

    Returns:
        The mean in nats, and the number of targets that it averages; a loss of 0 and 0 if there is none.

    >>> def uniform(ids):
    ...     return torch.zeros(*ids.shape, 4)
    >>> loss, n = batch_loss(uniform, Batch(torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2, -100]])))
    >>> round(loss.item(), 4), n  # log 4
    (1.3863, 2)
    """
    packing = {} if batch.document_ids is None else {"document_ids": batch.document_ids}
    has_hidden = hasattr(model, "hidden")
    outputs: Tensor = (model.hidden if has_hidden else model)(batch.inputs, **packing)
    n_targets = int((batch.targets != IGNORE_INDEX).sum())
    if n_targets == 0:
        return outputs.sum() * 0.0, 0
    if not has_hidden:
        return cross_entropy(outputs, batch.targets), n_targets
    return head_cross_entropy(model, outputs, batch.targets), n_targets


def head_cross_entropy(
    model: Any, hidden: Float[Tensor, "*batch D"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Compute the mean cross-entropy of a model's last hidden states, in the form that suits its output head.

    A 4-bit head computes the logits of all unmasked targets at once, which are then held in memory.

    Args:
        model: A decoder of `llmguide.models`.
        hidden: Last hidden states.
        targets: Token id that follows each position, or -100 where there is no loss.

    Returns:
        The mean over unmasked targets in nats, as `linear_cross_entropy` gives it.

    Raises:
        ValueError: Every target is masked.
    """
    if not isinstance(model.head, Q4Linear):
        return linear_cross_entropy(hidden, head_weight(model), targets)
    counted = _require_targets(targets, model.head.out_features)
    return cross_entropy(model.head(hidden[counted]), targets[counted])


def head_logprobs(
    model: Any, hidden: Float[Tensor, "*batch D"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Compute each target's log-probability from a model's last hidden states, as `head_cross_entropy` does.

    Returns:
        Log-probabilities in float32 or wider, 0 where the target is -100.
    """
    if not isinstance(model.head, Q4Linear):
        return token_logprobs(hidden, head_weight(model), targets)
    counted = counted_targets(targets, model.head.out_features)
    losses = F.cross_entropy(model.head(hidden[counted]), targets[counted], reduction="none")
    return losses.new_zeros(targets.shape).masked_scatter(counted, -losses)


def head_weight(model: Any) -> Float[Tensor, "V D"]:
    """Return the weight of a model's output head, which may be its token embedding table."""
    weight: Tensor = (model.tokens if model.head is None else model.head).weight
    return weight


def token_logprobs(
    hidden: Float[Tensor, "*batch D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, "*batch"],
    *,
    chunk: int | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, "*batch"]:
    r"""Compute each target's log-probability, $\log \operatorname{softmax}(W h_t / \tau)_{y_t}$, in chunks.

    Neither pass holds the logits of more than one chunk: the backward pass recomputes them. Positions whose
    target is -100 are dropped before the output head. Second derivatives are not available.

    Args:
        hidden: Hidden states, one for each target.
        weight: Weight of the output head.
        targets: Token id that follows each position, or -100 where none is needed.
        chunk: Number of tokens whose logits are in memory at a time, as in `linear_cross_entropy`.
        temperature: Softmax temperature $\tau$; that of the sampler if the targets were sampled.

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
        raise ValueError(f"temperature={temperature} must be above 0; greedy has no log-probabilities")
    counted = targets != IGNORE_INDEX
    options = chunk or chunk_size(weight), temperature, with_entropy
    apply: Any = TokenLogprobs.apply  # torch leaves it untyped
    stats = apply(hidden[counted], weight, targets[counted], options)
    logprobs, entropy = (stat.new_zeros(targets.shape).masked_scatter(counted, stat) for stat in stats)
    return logprobs, entropy


def _require_targets(targets: Tensor, vocab_size: int) -> Bool[Tensor, "*batch"]:
    counted = counted_targets(targets, vocab_size)
    if not counted.any():
        raise ValueError(f"all {targets.numel()} targets are {IGNORE_INDEX}, so there is no loss")
    return counted


def counted_targets(targets: Int[Tensor, "*batch"], vocab_size: int) -> Bool[Tensor, "*batch"]:
    """Return which targets are not masked.

    Raises:
        ValueError: A target is neither masked nor in the vocabulary.
    """
    counted = targets != IGNORE_INDEX
    if ((targets >= vocab_size) | (targets < 0) & counted).any():
        raise ValueError(
            f"targets from {int(targets[counted].min())} to {int(targets.max())} are outside the vocabulary, "
            f"0 to {vocab_size - 1}; mask with {IGNORE_INDEX}"
        )
    return counted
