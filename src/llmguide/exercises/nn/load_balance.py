"""The exercise of the load-balancing loss of a mixture of experts."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.nn.mixture_of_experts import load_balancing_loss


def _balance(
    logits: Tensor,
    k: int,
    is_token: Tensor,
    *,
    chosen: int | None = None,
    axis: int = -1,
    soft: bool = False,
    factor: bool = True,
    product_first: bool = False,
) -> Tensor:
    """Compute the load-balancing loss, with switches for the mistakes."""
    n = logits.shape[-1]
    probabilities = logits.softmax(axis)[is_token]
    picked = logits[is_token].topk(chosen or k, dim=-1).indices
    loads = F.one_hot(picked, n).sum(-2).float()
    if soft:
        loads = probabilities
    if product_first:
        total = (loads * probabilities).mean(0).sum()
    else:
        total = (loads.mean(0) * probabilities.mean(0)).sum()
    return n * total if factor else total


def _balance_probes() -> list[Arguments]:
    padded = torch.tensor([True, True, False, True, True, True, False])
    return [(2 * noise(5, 7, 4), 2, padded), (noise(6, 5, 3), 1, torch.ones(5, dtype=torch.bool))]


EXERCISES = (
    Exercise(
        "load-balance",
        "balance(logits, k, is_token) returns the load-balancing loss of Switch Transformer for a router "
        "that sends each token to k experts, without a coefficient. `logits` (T, n) has the scores of n "
        "experts for each token, and `is_token` (T,) is False for padding, which does not count. The loss is "
        "k if all experts get the same probabilities, and n if all tokens go to the same k experts with "
        "certainty. Its gradient must lower the probabilities of the experts that get the most tokens.",
        load_balancing_loss,
        _balance_probes,
        (
            Mistake(
                "padding counted",
                "padding counts like tokens",
                "Leave the rows of padding out, both from the loads and from the probabilities.",
                lambda logits, k, is_token: _balance(logits, k, torch.ones_like(is_token)),
            ),
            Mistake(
                "only the first choice",
                "each token counts only for its best expert",
                "A token adds to the load of all of its k experts.",
                partial(_balance, chosen=1),
            ),
            Mistake(
                "probabilities for loads",
                "the square of the mean probabilities is summed",
                "One factor is how often each expert is chosen, which is a count.",
                partial(_balance, soft=True),
            ),
            Mistake(
                "number of experts missing",
                "the sum is not multiplied by the number of experts",
                "With even probabilities the loss is k, whatever the number of experts.",
                partial(_balance, factor=False),
            ),
            Mistake(
                "product for each token",
                "load and probability are multiplied for each token, and then averaged",
                "Average over the tokens first. The load of an expert is a property of the whole batch.",
                partial(_balance, product_first=True),
            ),
            Mistake(
                "softmax over the tokens",
                "the softmax runs over the tokens instead of the experts",
                "The probabilities of one token sum to 1 over the experts.",
                partial(_balance, axis=0),
            ),
            Mistake(
                "loads divided by k",
                "the loads are fractions of all choices, so that they sum to 1",
                "They are counts per token: they sum to k.",
                lambda logits, k, is_token: _balance(logits, k, is_token) / k,
            ),
            Mistake(
                "counts instead of frequencies",
                "the loads are not divided by the number of tokens",
                "The loss must not grow with the batch. Use the mean over the tokens.",
                lambda logits, k, is_token: is_token.sum() * _balance(logits, k, is_token),
            ),
            Mistake(
                "padding in the divisor",
                "the sums over the tokens are divided by the number of all rows",
                "Padding does not count, so divide by the number of tokens.",
                lambda logits, k, is_token: _balance(logits, k, is_token) * is_token.float().mean() ** 2,
            ),
        ),
        (
            "Compute two vectors with an entry for each expert: how often it is chosen per token, and its "
            "mean probability.",
            "Only one of them has a gradient. Which product of both is small if the expert with many tokens "
            "gets a low probability?",
            "Take their dot product. Compare it with the two values that the task states to find the factor.",
        ),
        level="medium",
        minutes=20,
        after="The loads are counts without a gradient. They act as the weights with which the loss pulls "
        "down the probabilities.",
    ),
)
