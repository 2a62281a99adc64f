"""Exercises of mixtures of experts: routing, dispatch."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.nn.mixture_of_experts import route

# ---- dispatch --------------------------------------------------------------------------------------

Expert = Callable[[Tensor], Tensor]


def mixture(
    x: Tensor,
    router: Tensor,
    experts: Sequence[Expert],
    k: int,
    *,
    route: Callable[[Tensor, int], tuple[Tensor, Tensor]] = route,
    add: bool = True,
    inputs: bool = False,
) -> Tensor:
    """Compute a mixture of experts, with switches for the mistakes.

    >>> mixture(torch.tensor([[2.0], [-2.0]]), torch.tensor([[1.0], [-1.0]]), [torch.neg, torch.square], 1)
    tensor([[-2.],
            [ 4.]])
    """
    weights, chosen = route(x @ router.T, k)
    output = torch.zeros_like(x)
    for i, expert in enumerate(experts):
        rows, ranks = torch.where(chosen == i)
        if len(rows):
            weight = weights[rows, ranks, None]
            part = expert(weight * x[rows]) if inputs else weight * expert(x[rows])
            output[rows] = output[rows] + part if add else part
    return output


def _all_experts(x: Tensor, router: Tensor, experts: Sequence[Expert], k: int) -> Tensor:
    weights, chosen = route(x @ router.T, k)
    outputs = torch.stack([expert(x) for expert in experts], dim=1)  # (N, n, D)
    picked = outputs.gather(1, chosen[..., None].expand(-1, -1, x.shape[1]))
    return (weights[..., None] * picked).sum(1)


def _softmax_over_all(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, chosen = logits.softmax(-1).topk(k, dim=-1)
    return values, chosen


def _unweighted(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    weights, chosen = route(logits, k)
    return torch.ones_like(weights) / k, chosen


def _weights_by_number(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    weights, chosen = route(logits, k)
    return weights, chosen.sort(-1).values


def _with_rows(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe the output, and whether experts are run on tokens that are not routed to them."""
    x, router, experts, k = arguments
    sizes = []

    def watched(expert: Expert) -> Expert:
        def run(rows: Tensor) -> Tensor:
            sizes.append(rows.numel() // x.shape[1])
            return expert(rows)

        return run

    result = function(x, router, [watched(expert) for expert in experts], k)
    return result, "idle experts run" if sum(sizes) > k * len(x) else f"{k} experts for each token"


def _mixture_probes() -> list[Arguments]:
    experts = [torch.tanh, torch.square, torch.sin, torch.exp]
    return [
        (noise(1, 6, 3), noise(2, 4, 3), experts, 2),
        (noise(3, 4, 2), 2 * noise(4, 3, 2), experts[:3], 2),
    ]


# ---- load balancing --------------------------------------------------------------------------------


EXERCISES = (
    Exercise(
        "route",
        "route(logits, k) returns the weights and indices of the k experts of each token, largest first; the "
        "weights sum to 1 (Mixtral).",
        route,
        lambda: [(noise(8, 3, 6), 2), (noise(9, 2, 5), 3)],
        (
            Mistake(
                "weights not renormalized",
                "the softmax runs over all experts, so that the chosen weights sum to less than 1",
                "Choose first, then softmax over what was chosen; or divide by the sum.",
                lambda logits, k: tuple(logits.softmax(dim=-1).topk(k, dim=-1)),
            ),
            Mistake(
                "equal weights",
                "each chosen expert gets the same weight",
                "The router's scores also say how much each expert counts; without them it gets no gradient.",
                lambda logits, k: (torch.full_like(logits[..., :k], 1 / k), logits.topk(k, dim=-1).indices),
            ),
            Mistake(
                "logits as weights",
                "the raw scores are the weights",
                "Softmax makes them positive, with sum 1.",
                lambda logits, k: tuple(logits.topk(k, dim=-1)),
            ),
        ),
        ("Tensor.topk returns values and indices.",),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "mixture",
        "mixture(x, router, experts, k) returns the output (N, D) of a mixture of experts for N tokens x "
        "(N, D). `router` (n, D) is the matrix that computes the scores of the n experts, and `experts` is a "
        "list of n functions, each from (m, D) to (m, D). Each token goes to the k experts with the largest "
        "scores, and their outputs are averaged with the weights that route gives. Run each expert only on "
        "the tokens that are routed to it, or not at all if there are none; the test counts the tokens. Do "
        "not loop over the tokens.",
        mixture,
        _mixture_probes,
        (
            Mistake(
                "every expert on every token",
                "every expert is run on all tokens, and most outputs are thrown away",
                "The output is right, but the work grows with the number of experts. Select the rows of each "
                "expert first.",
                _all_experts,
            ),
            Mistake(
                "weights of all experts",
                "the weights are the softmax over all experts, so those of a token sum to less than 1",
                "Take the softmax over the scores of the k chosen experts.",
                partial(mixture, route=_softmax_over_all),
            ),
            Mistake(
                "plain mean",
                "the outputs of the chosen experts count the same",
                "The router's scores say how much each expert counts, and the router learns only through "
                "them.",
                partial(mixture, route=_unweighted),
            ),
            Mistake(
                "weights of other experts",
                "the chosen experts are sorted by number, but the weights by size",
                "Weight j of a token belongs to the expert at index j of the same row.",
                partial(mixture, route=_weights_by_number),
            ),
            Mistake(
                "later expert overwrites earlier",
                "the output of a token is that of the last of its experts",
                "Each token has k outputs: add them up.",
                partial(mixture, add=False),
            ),
            Mistake(
                "weight on the input",
                "the inputs of the experts are multiplied by the weights",
                "Experts are not linear. Multiply their outputs.",
                partial(mixture, inputs=True),
            ),
            Mistake(
                "best expert only",
                "each token goes to its best expert only",
                "Each token has k experts.",
                lambda x, router, experts, k: mixture(x, router, experts, 1),
            ),
            Mistake(
                "sum without weights",
                "the outputs of the chosen experts are added without weights",
                "Multiply each output with its weight first.",
                lambda x, router, experts, k: k * mixture(x, router, experts, k, route=_unweighted),
            ),
        ),
        (
            "Loop over the experts. For each one, find the tokens that chose it.",
            "torch.where(chosen == i) gives the rows, and which of its k choices it is for each row.",
            "weights[rows, choices, None] has one weight for each row. Add the product to output[rows].",
        ),
        needs=("route",),
        level="medium",
        minutes=20,
        after="The n experts have the parameters, but a token uses only k of them. On several GPUs, the same "
        "selection decides which token is sent to which GPU.",
        observe=_with_rows,
    ),
)
