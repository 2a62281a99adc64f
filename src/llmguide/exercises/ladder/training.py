"""The exercises of the ladder that train: log-probabilities, the loss, a training loop."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.comparing import same
from llmguide.exercises.definition import Arguments, Exercise, Mistake, generator
from llmguide.exercises.ladder.transformer import gpt
from llmguide.exercises.ladder.weights import TEXT, Weights, loss_and_gradient, make_weights, tensors

TARGET = 3.1  # loss in nats per byte that the training loop has to reach; it starts near 5.6
_FINAL = "loss on the whole text after training"

# ---- log-probabilities and the loss ------------------------------------------------------------------------


def token_logprobs(
    ids: Tensor, weights: Weights, n_heads: int, *, shift: int = 1, axis: int = -1, normalized: bool = True
) -> Tensor:
    """Compute the log-probability of each token after the first, with switches for the mistakes."""
    logits = gpt(ids, weights, n_heads)
    scores = logits[:, 1:] if shift < 0 else logits[:, :-1]
    targets = ids[:, 1:] if shift > 0 else ids[:, :-1]
    scores = scores.log_softmax(axis) if normalized else scores
    return scores.gather(-1, targets[..., None])[..., 0]


def lm_loss(ids: Tensor, weights: Weights, n_heads: int) -> Tensor:
    """Compute the mean cross-entropy loss of predicting the next tokens."""
    return -token_logprobs(ids, weights, n_heads).mean()


def _loss_probes() -> list[Arguments]:
    ids = torch.randint(9, (3, 6), generator=generator(0))
    return [(ids, make_weights(9, 8, 2, 8), 2), (ids[:1, :3], make_weights(9, 8, 1, 8, seed=1), 4)]


# ---- the training loop -------------------------------------------------------------------------------------


def train(
    batches: list[Tensor],
    weights: Weights,
    n_heads: int,
    lr: float,
    *,
    sign: float = 1.0,
    clear: bool = True,
    make_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    parts: Callable[[Weights], list[Tensor]] = lambda weights: list(tensors(weights)),
) -> list[float]:
    """Train on batches, with switches for the mistakes."""
    for weight in tensors(weights):
        weight.requires_grad_()
    optimizer = make_optimizer(parts(weights), lr=lr)
    losses = []
    for ids in batches:
        loss = lm_loss(ids, weights, n_heads)
        if clear:
            optimizer.zero_grad()
        (sign * loss).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def _no_step(batches: list[Tensor], weights: Weights, n_heads: int, lr: float) -> list[float]:
    return [lm_loss(ids, weights, n_heads).item() for ids in batches]


def batches_of(ids: list[int], n_batches: int, rows: int, length: int, seed: int = 0) -> list[Tensor]:
    """Sample batches of windows from the ids of a text."""
    data = torch.tensor(ids)
    starts = torch.randint(len(ids) - length + 1, (n_batches, rows, 1), generator=generator(seed))
    return list(data[starts + torch.arange(length)])


def _train_probes() -> list[Arguments]:
    batches = batches_of(list(TEXT.encode()), 30, 8, 12)
    return [(batches, make_weights(256, 12, 1, 16, std=0.1, dtype=torch.float64), 2, 0.03)]


def _trained(function: Callable[..., Any], arguments: Arguments) -> dict[str, Any]:
    """Observe the first loss, the loss on the whole text after training, and whether all tensors changed."""
    batches, before, n_heads, lr = arguments
    weights = copy.deepcopy(before)
    losses = function(batches, weights, n_heads, lr)
    is_list = isinstance(losses, list) and len(losses) == len(batches)
    is_right = is_list and all(isinstance(loss, float) for loss in losses)
    with torch.no_grad():
        data = torch.tensor(list(TEXT.encode()))[: len(TEXT) // 12 * 12].view(-1, 12)
        final = lm_loss(data, weights, n_heads).item()
    still = [torch.equal(*pair) for pair in zip(tensors(before), tensors(weights), strict=True)]
    return {
        "first loss returned": losses[0] if is_right else f"no list of {len(batches)} floats",
        _FINAL: final,
        "tensors": "some unchanged" if any(still) else "all trained",
    }


def _reached(result: Any, expected: Any) -> bool:
    return result[_FINAL] < TARGET and same({**result, _FINAL: expected[_FINAL]}, expected)


EXERCISES = (
    Exercise(
        "token-logprobs",
        "token_logprobs(ids, weights, n_heads) returns a tensor (B, T - 1) of log-probabilities. For each "
        "token of `ids` (B, T) except the first of each row, it has the natural logarithm of the probability "
        "that the model assigns to the token, given the tokens before it in the row.",
        token_logprobs,
        _loss_probes,
        (
            Mistake(
                "label shift forgotten",
                "the token at each position is scored with the logits of that same position",
                "The logits at position t predict the token at position t + 1.",
                partial(token_logprobs, shift=0),
            ),
            Mistake(
                "shifted the wrong way",
                "each token is scored with the logits of the position after it",
                "The logits at position t predict the token at position t + 1. The last logits predict a "
                "token that is not in ids.",
                partial(token_logprobs, shift=-1),
            ),
            Mistake(
                "softmax over the positions",
                "the probabilities sum to 1 over the positions",
                "They must sum to 1 over the vocabulary, which is the last axis.",
                partial(token_logprobs, axis=1),
            ),
            Mistake(
                "logits not normalized",
                "raw logits are returned",
                "Log-probabilities are the logits of a position minus the logarithm of the sum of their "
                "exponentials.",
                partial(token_logprobs, normalized=False),
            ),
            Mistake(
                "probabilities instead of logarithms",
                "the probabilities themselves are returned",
                "Take the logarithm. torch has one function for softmax and logarithm.",
                lambda *arguments: token_logprobs(*arguments).exp(),
            ),
        ),
        (
            "Which position's logits predict the token at position t?",
            "Tensor.log_softmax is more precise than a softmax followed by a logarithm.",
            "Tensor.gather selects one entry along the vocabulary axis for each position.",
        ),
        needs=("gpt",),
        level="medium",
        minutes=10,
        after="The losses of pre-training, SFT, DPO, PPO and GRPO are all computed from these "
        "log-probabilities. They differ in which tokens they count and in how they combine and weight them.",
    ),
    Exercise(
        "lm-loss",
        "lm_loss(ids, weights, n_heads) returns the training loss of a language model on a batch of token "
        "ids (B, T): the cross-entropy in nats, averaged over all predicted tokens, as a scalar tensor that "
        "can be backpropagated.",
        lm_loss,
        _loss_probes,
        (
            Mistake(
                "sign",
                "the mean log-probability is returned",
                "A loss should fall when the model gets better, but log-probabilities rise.",
                lambda *arguments: -lm_loss(*arguments),
            ),
            Mistake(
                "sum instead of mean",
                "the losses of all tokens are summed",
                "Take the mean over all predicted tokens, so that the gradient does not grow with the batch "
                "size.",
                lambda *arguments: -token_logprobs(*arguments).sum(),
            ),
            Mistake(
                "sum over each row",
                "the losses of a row are summed, and the mean is over the rows",
                "The unit is nats per predicted token: take the mean over all tokens.",
                lambda *arguments: -token_logprobs(*arguments).sum(-1).mean(),
            ),
            Mistake(
                "bits instead of nats",
                "the logarithm has base 2",
                "Nats need the natural logarithm.",
                lambda *arguments: lm_loss(*arguments) / torch.tensor(2.0).log(),
            ),
            Mistake(
                "detached",
                "the loss is a plain number or is detached from the weights",
                "Do not call item() or detach(), because the optimizer needs the gradient.",
                lambda *arguments: lm_loss(*arguments).detach(),
            ),
            Mistake(
                "perplexity",
                "the exponential of the loss is returned",
                "Perplexity is the exponential of the loss. Return the loss itself.",
                lambda *arguments: lm_loss(*arguments).exp(),
            ),
        ),
        (
            "You have the log-probability of each token. What should the loss do when it rises?",
            "All predicted tokens of all rows have the same weight.",
            "The loss is minus the mean of the log-probabilities.",
        ),
        needs=("token-logprobs",),
        level="warm-up",
        minutes=5,
        after="A model that gives every token the same probability has the loss ln V. Compare your loss with "
        "this value to see how much the model has learned.",
        observe=loss_and_gradient,
    ),
    Exercise(
        "train",
        "train(batches, weights, n_heads, lr) trains a model with one optimizer step for each tensor of ids "
        "(B, T) in the list `batches`. It changes all tensors of `weights` in place, and returns the list of "
        "the losses as floats, each computed before its step. Use an adaptive optimizer such as AdamW, with "
        "the learning rate lr. The test trains on the bytes of Lincoln's Gettysburg Address: after "
        f"{len(_train_probes()[0][0])} batches with lr = {_train_probes()[0][3]}, the loss on the whole text "
        f"must be below {TARGET} nats per byte.",
        train,
        _train_probes,
        (
            Mistake(
                "gradients not cleared",
                "each step uses the sum of the gradients of all steps so far",
                "backward() adds to .grad. Clear the gradients before each call of backward().",
                partial(train, clear=False),
            ),
            Mistake(
                "never steps",
                "the weights do not change",
                "Call backward() on the loss and then step() on the optimizer.",
                _no_step,
            ),
            Mistake(
                "uphill",
                "the loss is maximized",
                "An optimizer minimizes the tensor on which you call backward().",
                partial(train, sign=-1.0),
            ),
            Mistake(
                "plain SGD",
                "the optimizer is SGD without momentum",
                "With this learning rate, SGD takes steps that are too small. An adaptive optimizer such as "
                "AdamW scales the step of each weight by the size of its gradients.",
                partial(train, make_optimizer=torch.optim.SGD),
            ),
            Mistake(
                "layers not trained",
                "only the embeddings and the final norm are passed to the optimizer",
                "weights['layers'] is a list of dicts. Pass their tensors to the optimizer too.",
                partial(
                    train, parts=lambda weights: [weights[name] for name in ("tokens", "positions", "norm")]
                ),
            ),
            Mistake(
                "the first batch only",
                "every step uses the first batch",
                "Use the next batch at each step. Otherwise the model memorizes one batch and learns little "
                "about the rest of the text.",
                lambda batches, *rest: train(batches[:1] * len(batches), *rest),
            ),
        ),
        (
            "Before the loop, call requires_grad_() on all tensors and pass them to an optimizer.",
            "In the loop, compute the loss, clear the gradients, call backward(), and call step().",
            "torch.optim.AdamW works. Append loss.item() to the list of losses at each step.",
        ),
        needs=("lm-loss",),
        level="medium",
        minutes=20,
        after="The training loops of large models have the same core. They add a learning-rate schedule, "
        "gradient clipping, mixed precision, checkpoints and sharding, which keep the run stable and use "
        "many devices well.",
        observe=_trained,
        accept=_reached,
    ),
)
