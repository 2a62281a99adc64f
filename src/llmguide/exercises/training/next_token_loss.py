"""Exercises of the pre-training loss: the next token, the mean of a batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.differentiation import cut_off, with_gradient
from llmguide.training.losses import next_token_loss


def _loss(logits: Tensor, ids: Tensor) -> Tensor:
    return next_token_loss(lambda inputs: logits[:, : inputs.shape[1]], ids, chunked=False)


def _cross_entropy(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def _loss_probes() -> list[Arguments]:
    ids = torch.randint(7, (3, 6), generator=torch.Generator().manual_seed(0))
    return [(noise(0, 3, 6, 7), ids), (3 * noise(1, 2, 3, 4), torch.tensor([[2, 0, 1], [1, 3, 0]]))]


def _accumulated(losses: Tensor, counts: Tensor) -> Tensor:
    return (losses * counts).sum() / counts.sum()


EXERCISES = (
    Exercise(
        "next-token-loss",
        "next_token_loss(logits, ids) returns the mean cross-entropy, in nats, of predicting each token from "
        "those before it, as a tensor without dimensions. logits is (B, T, V), computed from ids (B, T); the "
        "target of the last position of each row is not known.",
        _loss,
        _loss_probes,
        (
            Mistake(
                "label shift forgotten",
                "the logits of a position are compared with the token that the position has just read",
                "Position t predicts token t + 1: logits[:, :-1] against ids[:, 1:].",
                _cross_entropy,
            ),
            Mistake(
                "shifted the wrong way",
                "the logits of a position are compared with the token before it",
                "The future is predicted from the past: the targets lose their first token.",
                lambda logits, ids: _cross_entropy(logits[:, 1:], ids[:, :-1]),
            ),
            Mistake(
                "sum instead of mean",
                "the losses of the tokens are summed",
                "Divide by the number of predictions, or the best learning rate depends on the batch size.",
                lambda logits, ids: _cross_entropy(logits[:, :-1], ids[:, 1:], "sum"),
            ),
            Mistake(
                "softmax twice",
                "probabilities are passed to cross_entropy, which applies a softmax itself",
                "F.cross_entropy takes logits.",
                lambda logits, ids: _cross_entropy(logits[:, :-1].softmax(-1), ids[:, 1:]),
            ),
            Mistake(
                "bits instead of nats",
                "the logarithm has base 2",
                "torch's logarithms are natural.",
                lambda logits, ids: _loss(logits, ids) / torch.tensor(2.0).log(),
            ),
            Mistake(
                "sign",
                "the sum of log-probabilities is not negated",
                "The loss is the negative log-likelihood, which is never below 0.",
                lambda logits, ids: -_loss(logits, ids),
            ),
            Mistake(
                "divided by all tokens",
                "the sum is divided by B T",
                "The first token of each row is not predicted, so there are B (T - 1) predictions.",
                lambda logits, ids: (
                    _cross_entropy(logits[:, :-1], ids[:, 1:], "sum") / torch.tensor(ids.numel())
                ),
            ),
            Mistake(
                "divided by the rows",
                "the losses of a row are summed instead of averaged",
                "Divide by the number of predictions in all rows, B (T - 1).",
                lambda logits, ids: _cross_entropy(logits[:, :-1], ids[:, 1:], "sum") / len(ids),
            ),
            Mistake(
                "rows joined before the shift",
                "the last position of a row is compared with the first token of the next row",
                "Shift first, in dimension 1; then flatten.",
                lambda logits, ids: F.cross_entropy(logits.flatten(0, 1)[:-1], ids.flatten()[1:]),
            ),
            Mistake(
                "ids rolled",
                "the last position is compared with the first token of its row",
                "roll brings the first token to the end. Drop the last logits and the first token instead.",
                lambda logits, ids: _cross_entropy(logits, ids.roll(-1, dims=1)),
            ),
            cut_off(_loss),
        ),
        (
            "How many predictions can be checked in a text of T tokens?",
            "Drop the last logits and the first token.",
        ),
        level="warm-up",
        minutes=10,
        observe=with_gradient(_loss, 0),
    ),
    Exercise(
        "accumulate",
        "accumulated_loss(losses, counts): the mean loss of a whole batch, from the means of its "
        "micro-batches and the numbers of tokens that each mean is over.",
        _accumulated,
        lambda: [
            (torch.tensor([2.0, 4.0, 1.0]), torch.tensor([10, 30, 5])),
            (torch.tensor([1.5, 0.5]), torch.tensor([1, 7])),
        ],
        (
            Mistake(
                "divided by the number of micro-batches",
                "every micro-batch counts the same, however few tokens it has",
                "A token in a short micro-batch would weigh more than one in a long one. Weight by the "
                "counts.",
                lambda losses, counts: losses.mean(),
            ),
            Mistake(
                "not divided",
                "the means are summed",
                "The gradient would grow with the number of micro-batches.",
                lambda losses, counts: losses.sum(),
            ),
            Mistake(
                "means summed, divided by the tokens",
                "the means are added as if they were sums",
                "Multiply each mean by its count first.",
                lambda losses, counts: losses.sum() / counts.sum(),
            ),
            Mistake(
                "total instead of mean",
                "the losses of all tokens are summed, and the sum is not divided",
                "Divide by the number of all tokens.",
                lambda losses, counts: (losses * counts).sum(),
            ),
            Mistake(
                "total divided by the number of micro-batches",
                "the sum of the losses of all tokens is divided by the number of micro-batches",
                "Divide by the number of all tokens.",
                lambda losses, counts: (losses * counts).sum() / len(losses),
            ),
        ),
        ("A mean times its count is a sum.",),
        level="warm-up",
        minutes=5,
    ),
)
