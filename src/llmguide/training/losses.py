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
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.arguments import check_ids
from llmguide.data.tokens.windows import IGNORE_INDEX, Batch
from llmguide.models.decoder_protocol import Decoder, require_own
from llmguide.models.transformer_decoder import TransformerDecoder
from llmguide.nn._linear import Linear
from llmguide.nn.mixture_of_experts import load_balancing_loss, recorded_routing
from llmguide.nn.unchanged import is_unchanged
from llmguide.training._chunked_losses import (
    LinearCrossEntropy,
    chunk_size,
    counted_targets,
    raise_without_targets,
    require_positive,
    require_targets,
    select,
    token_stats,
)

_BALANCING = 0.01  # of a layer's load-balancing loss, as in Switch Transformer


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
    require_targets(targets, logits.shape[-1])
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
    rows, labels = select(counted_targets(targets, len(weight)), hidden, targets)
    if not len(labels):
        raise_without_targets(targets)
    apply: Any = LinearCrossEntropy.apply  # torch leaves it untyped
    loss: Tensor = apply(rows, weight, labels, chunk or chunk_size(weight))
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
    return head_cross_entropy(cast(Decoder, model), model.hidden(inputs), targets)


def batch_loss(model: Any, batch: Batch) -> tuple[Float[Tensor, ""], int]:
    """Compute the mean cross-entropy over the unmasked targets of a batch, the default loss of `train`.

    While a mixture of experts trains, 0.01 times the load-balancing loss of each of its layers is added
    (arXiv:2101.03961, section 2.2). Without it, a few experts would get most of the tokens.

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
    with recorded_routing(model) as routing:
        outputs: Tensor = (model.hidden if has_hidden else model)(batch.inputs, **packing)
    n_targets = int((batch.targets != IGNORE_INDEX).sum())
    if n_targets == 0:
        return outputs.sum() * 0.0, 0
    mean = (
        head_cross_entropy(model, outputs, batch.targets)
        if has_hidden
        else cross_entropy(outputs, batch.targets)
    )
    if getattr(model, "training", False):
        for scores, k in routing:
            mean = mean + _BALANCING * load_balancing_loss(scores, k)
    return mean, n_targets


def head_cross_entropy(
    model: Decoder, hidden: Float[Tensor, "*batch D"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Compute the mean cross-entropy of a model's last hidden states.

    Without the logits of all unmasked targets in memory if these are the hidden states times a weight;
    with them if the model has a bias, an adapter or 4-bit weights there, or an ``unembed`` of its own.

    Args:
        model: A decoder.
        hidden: Last hidden states.
        targets: Token id that follows each position, or -100 where there is no loss.

    Returns:
        The mean over unmasked targets in nats, as `linear_cross_entropy` gives it.

    Raises:
        ValueError: Every target is masked.
    """
    weight = _head_weight(model)
    if weight is not None:
        return linear_cross_entropy(hidden, weight, targets)
    counted = require_targets(targets, model.config.vocab_size)
    return cross_entropy(model.unembed(hidden[counted]), targets[counted])


def head_logprobs(
    model: Decoder, hidden: Float[Tensor, "*batch D"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Compute each target's log-probability from a model's last hidden states, as `head_cross_entropy` does.

    Returns:
        Log-probabilities in float32 or wider, 0 where the target is -100.
    """
    weight = _head_weight(model)
    if weight is not None:
        return token_logprobs(hidden, weight, targets)
    return _unembedded_stats(model, hidden, targets, 1.0)[0]


def head_logprobs_and_entropy(
    model: Decoder,
    hidden: Float[Tensor, "*batch D"],
    targets: Int[Tensor, "*batch"],
    *,
    temperature: float = 1.0,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Compute `head_logprobs`, at a temperature, and the entropy of the distribution of each target."""
    weight = _head_weight(model)
    if weight is not None:
        return token_logprobs_and_entropy(hidden, weight, targets, temperature=temperature)
    return _unembedded_stats(model, hidden, targets, temperature)


def _head_weight(model: Any) -> Float[Tensor, "V D"] | None:
    """Return the weight whose product with the hidden states is the logits; None if there is no such."""
    if getattr(type(model), "unembed", None) is not TransformerDecoder.unembed or "unembed" in vars(model):
        return None
    head = model.tokens if model.head is None else model.head
    if not is_unchanged(head, Linear, nn.Linear, nn.Embedding) or getattr(head, "bias", None) is not None:
        return None
    weight: Tensor = head.weight
    return weight


def _unembedded_stats(
    model: Decoder, hidden: Tensor, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Compute log-probabilities and entropies from the logits of all unmasked targets at once."""
    require_positive(temperature)
    counted = counted_targets(targets, model.config.vocab_size)
    logits = model.unembed(hidden[counted])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    log_probs = logits.log_softmax(-1)
    logprobs = log_probs.gather(1, targets[counted][:, None])[:, 0]
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    out, spread = (
        stat.new_zeros(targets.shape).masked_scatter(counted, stat) for stat in (logprobs, entropy)
    )
    return out, spread


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
    return token_stats(hidden, weight, targets, chunk, temperature, with_entropy=False)[0]


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
    return token_stats(hidden, weight, targets, chunk, temperature, with_entropy=True)
