"""The rungs of the ladder that train: log-probabilities, the loss, a training loop."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.comparing import same
from llmguide.exercises.grading import Arguments, Exercise, Mistake
from llmguide.exercises.ladder.transformer import gpt
from llmguide.exercises.ladder.weights import TEXT, Weights, loss_and_gradient, make_weights, tensors

TARGET = 3.1  # nats per byte that the training loop has to reach; it starts near 5.6

# ---- log-probabilities and the loss ------------------------------------------------------------------------


def token_logprobs(ids: Tensor, weights: Weights, n_heads: int) -> Tensor:
    """Compute the log-probability of each token after the first."""
    return _pick(gpt(ids, weights, n_heads)[:, :-1].log_softmax(-1), ids[:, 1:])


def _pick(scores: Tensor, ids: Tensor) -> Tensor:
    return scores.gather(-1, ids[..., None])[..., 0]


def _unshifted(ids: Tensor, weights: Weights, n_heads: int) -> Tensor:
    return _pick(gpt(ids, weights, n_heads).log_softmax(-1), ids)[:, :-1]


def _backward_shift(ids: Tensor, weights: Weights, n_heads: int) -> Tensor:
    return _pick(gpt(ids, weights, n_heads)[:, 1:].log_softmax(-1), ids[:, :-1])


def _wrong_axis(ids: Tensor, weights: Weights, n_heads: int) -> Tensor:
    return _pick(gpt(ids, weights, n_heads)[:, :-1].log_softmax(1), ids[:, 1:])


def _raw_logits(ids: Tensor, weights: Weights, n_heads: int) -> Tensor:
    return _pick(gpt(ids, weights, n_heads)[:, :-1], ids[:, 1:])


def lm_loss(ids: Tensor, weights: Weights, n_heads: int) -> Tensor:
    """Compute the mean cross-entropy of the next tokens."""
    return -token_logprobs(ids, weights, n_heads).mean()


def _loss_probes() -> list[Arguments]:
    ids = torch.randint(9, (3, 6), generator=torch.Generator().manual_seed(0))
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
    parts: Callable[[Weights], list[Tensor]] = lambda weights: list(tensors(weights)),
) -> list[float]:
    """Train on batches with AdamW, with switches for the mistakes."""
    for weight in tensors(weights):
        weight.requires_grad_()
    optimizer = torch.optim.AdamW(parts(weights), lr=lr)
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
    """Sample batches of windows of a text."""
    generator = torch.Generator().manual_seed(seed)
    data = torch.tensor(ids)
    starts = torch.randint(len(ids) - length + 1, (n_batches, rows, 1), generator=generator)
    return list(data[starts + torch.arange(length)])


def _train_probes() -> list[Arguments]:
    batches = batches_of(list(TEXT.encode()), 30, 8, 12)
    return [(batches, make_weights(256, 12, 1, 16, std=0.1, dtype=torch.float64), 2, 0.03)]


def _trained(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, float, str]:
    """Observe the first loss, the loss on the whole text after training, and what was trained."""
    batches, before, n_heads, lr = arguments
    weights = copy.deepcopy(before)
    losses = function(batches, weights, n_heads, lr)
    first = losses[0] if isinstance(losses, list) and len(losses) == len(batches) else losses
    with torch.no_grad():
        data = torch.tensor(list(TEXT.encode()))[: len(TEXT) // 12 * 12].view(-1, 12)
        final = lm_loss(data, weights, n_heads).item()
    still = [torch.equal(*pair) for pair in zip(tensors(before), tensors(weights), strict=True)]
    return first, final, "some tensors unchanged" if any(still) else "all tensors trained"


def _reached(result: Any, expected: Any) -> bool:
    return same(result[0], expected[0]) and result[1] < TARGET and result[2] == expected[2]


EXERCISES = (
    Exercise(
        "token-logprobs",
        "token_logprobs(ids, weights, n_heads) returns (B, T - 1): for each token of `ids` but the first, "
        "the natural logarithm of the probability that the model gives it after the tokens before it.",
        token_logprobs,
        _loss_probes,
        (
            Mistake(
                "label shift forgotten",
                "the token at each position is scored by the logits of that same position, which has just "
                "read it",
                "The logits at position t are about the token at t + 1.",
                _unshifted,
            ),
            Mistake(
                "shifted the wrong way",
                "each position scores the token before it",
                "The first token has nothing before it that could predict it; the last logits predict "
                "nothing known.",
                _backward_shift,
            ),
            Mistake(
                "softmax over the positions",
                "the probabilities sum to 1 over the positions",
                "They sum to 1 over the vocabulary: the last axis.",
                _wrong_axis,
            ),
            Mistake(
                "logits not normalized",
                "raw logits are returned",
                "Logits become log-probabilities when a constant is subtracted in each position.",
                _raw_logits,
            ),
            Mistake(
                "probabilities instead of logarithms",
                "the probabilities themselves are returned",
                "Take the logarithm; torch has it together with the softmax.",
                lambda *arguments: token_logprobs(*arguments).exp(),
            ),
        ),
        (
            "Which position's logits predict the token at position t?",
            "Tensor.log_softmax is more precise than a softmax followed by a logarithm.",
            "Tensor.gather picks one number from each row of the vocabulary axis.",
        ),
        needs=("gpt",),
        level="medium",
        minutes=10,
        after="Pre-training, SFT, DPO, PPO and GRPO all start from this function. They differ in which "
        "tokens they count and in how they weight them.",
    ),
    Exercise(
        "lm-loss",
        "lm_loss(ids, weights, n_heads) returns the training loss of a language model on a batch of token "
        "ids (B, T): one number, in nats per predicted token, from which gradients can flow back.",
        lm_loss,
        _loss_probes,
        (
            Mistake(
                "sign",
                "the mean log-probability is returned",
                "A loss falls when the model gets better. Log-probabilities rise.",
                lambda *arguments: -lm_loss(*arguments),
            ),
            Mistake(
                "sum instead of mean",
                "the tokens are summed",
                "The gradient must not grow with the size of the batch.",
                lambda *arguments: -token_logprobs(*arguments).sum(),
            ),
            Mistake(
                "sum over each row",
                "the tokens of a row are summed, and the mean is over rows",
                "The unit is nats per token.",
                lambda *arguments: -token_logprobs(*arguments).sum(-1).mean(),
            ),
            Mistake(
                "bits instead of nats",
                "the logarithm has base 2",
                "Keep the natural logarithm.",
                lambda *arguments: lm_loss(*arguments) / torch.tensor(2.0).log(),
            ),
            Mistake(
                "detached",
                "the loss is a plain number or is cut off from the weights",
                "Do not call item() or detach(): the optimizer needs the gradient.",
                lambda *arguments: lm_loss(*arguments).detach(),
            ),
            Mistake(
                "perplexity",
                "the exponential of the loss is returned",
                "Perplexity is for reading. The loss is its logarithm.",
                lambda *arguments: lm_loss(*arguments).exp(),
            ),
        ),
        (
            "You have the log-probability of each token. What should the loss do when they rise?",
            "All tokens of all rows count the same.",
            "A mean and a sign.",
        ),
        needs=("token-logprobs",),
        level="warm-up",
        minutes=5,
        after="A model that knows nothing has the loss ln V. The difference between that and your loss is "
        "what it has learned.",
        observe=loss_and_gradient,
    ),
    Exercise(
        "train",
        "train(batches, weights, n_heads, lr) trains a model: one optimizer step for each tensor of ids in "
        "the list `batches`. It changes the tensors of `weights` in place and returns the list of losses, "
        "each measured before its step, as floats. Use any optimizer of torch. The text is Lincoln's "
        f"address at Gettysburg, as bytes; after {len(_train_probes()[0][0])} batches with lr = "
        f"{_train_probes()[0][3]} the loss on it must be below {TARGET} nats per byte.",
        train,
        _train_probes,
        (
            Mistake(
                "gradients not cleared",
                "the gradients of all steps so far are added up",
                "backward() adds to what is in .grad. Clear it before each step.",
                partial(train, clear=False),
            ),
            Mistake(
                "never steps",
                "the weights stay as they are",
                "The gradient alone changes nothing: the optimizer has to step.",
                _no_step,
            ),
            Mistake(
                "uphill",
                "the loss is maximized",
                "An optimizer subtracts the gradient of what you call backward() on.",
                partial(train, sign=-1.0),
            ),
            Mistake(
                "layers not trained",
                "only the embeddings and the final norm are given to the optimizer",
                "weights['layers'] is a list of dicts; their tensors learn too.",
                partial(
                    train, parts=lambda weights: [weights[name] for name in ("tokens", "positions", "norm")]
                ),
            ),
            Mistake(
                "the first batch only",
                "every step uses the first batch",
                "The model memorizes one batch and learns little about the rest of the text.",
                lambda batches, *rest: train(batches[:1] * len(batches), *rest),
            ),
        ),
        (
            "Before the loop: mark all tensors as requiring gradients, and give them to an optimizer.",
            "In the loop: loss, clear the gradients, backward, step.",
            "torch.optim.AdamW works. The loss of a step is loss.item().",
        ),
        needs=("lm-loss",),
        level="medium",
        minutes=20,
        after="The same five lines train the largest models. What is added there keeps many machines busy "
        "and the run stable: a schedule, clipping, mixed precision, checkpoints, sharding.",
        observe=_trained,
        accept=_reached,
    ),
)
