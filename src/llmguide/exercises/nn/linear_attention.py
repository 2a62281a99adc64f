"""Exercises of linear attention: the delta rule, chunks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.tensor_work import TensorWork

# ---- linear attention ------------------------------------------------------------------------------


def _delta_write(state: Tensor, key: Tensor, value: Tensor, beta: float) -> Tensor:
    return state + beta * torch.outer(key, value - key @ state)


# ---- linear attention in chunks --------------------------------------------------------------------


def _positive(x: Tensor) -> Tensor:
    return F.elu(x) + 1


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    chunk: int,
    *,
    feature: Callable[[Tensor], Tensor] = _positive,
    own: Callable[[Tensor], Tensor] = torch.tril,
    carried: bool = True,
    carried_sum: bool = True,
    normalized: bool = True,
) -> Tensor:
    """Compute causal linear attention in chunks, with switches for the mistakes."""
    state, total = torch.zeros(k.shape[-1], v.shape[-1]), torch.zeros(k.shape[-1])
    q, k, outputs = feature(q), feature(k), []
    for start in range(0, len(q), chunk):
        queries, keys, values = (x[start : start + chunk] for x in (q, k, v))
        weights = own(queries @ keys.T)
        output = weights @ values + queries @ state
        divisor = weights.sum(-1) + queries @ total
        outputs.append(output / divisor[:, None] if normalized else output)
        state = state + keys.T @ values if carried else state
        total = total + keys.sum(0) if carried and carried_sum else total
    return torch.cat(outputs)


def _as_matrix(q: Tensor, k: Tensor, v: Tensor, chunk: int) -> Tensor:
    return linear_attention(q, k, v, len(q))


def _with_chunks(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe the output, and whether a matrix product is larger than a chunk or the state."""
    q, _, v, chunk = arguments
    with TensorWork() as work:
        result = function(*arguments)
    width = max(q.shape[-1], v.shape[-1])
    is_large = work.largest_product > max(chunk, width) ** 2
    return result, "a product is too large" if is_large else "small products"


def _linear_probes() -> list[Arguments]:
    return [
        (noise(30, 11, 3), noise(31, 11, 3), noise(32, 11, 2), 4),
        (noise(33, 8, 2), noise(34, 8, 2), noise(35, 8, 3), 2),
    ]


EXERCISES = (
    Exercise(
        "delta-rule",
        "delta_write(state, key, value, beta) returns the state (E, E_v) of linear attention after the delta "
        "rule has written the value under the key, a vector of length 1.",
        _delta_write,
        lambda: [
            (noise(7, 4, 3), F.normalize(noise(8, 4), dim=0), noise(9, 3), 0.5),
            (noise(10, 2, 2), F.normalize(noise(11, 2), dim=0), noise(12, 2), 0.25),
        ],
        (
            Mistake(
                "plain sum",
                "the value is added without removing what the state holds for the key",
                "Read the state with the key first, and write the difference.",
                lambda state, key, value, beta: state + beta * torch.outer(key, value),
            ),
            Mistake(
                "beta ignored",
                "the old value is replaced in full",
                "beta says how much of the difference is written.",
                lambda state, key, value, beta: _delta_write(state, key, value, 1.0),
            ),
            Mistake(
                "beta on the new value only",
                "the old value is removed in full, and a fraction of the new one is written",
                "beta multiplies the difference of both.",
                lambda state, key, value, beta: state + torch.outer(key, beta * value - key @ state),
            ),
        ),
        ("key @ state is the value that the state holds for the key.", "torch.outer(key, difference)"),
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "linear-attention",
        "linear_attention(q, k, v, chunk) returns the output (T, E_v) of causal linear attention for q and k "
        "(T, E) and v (T, E_v). The weight of key s for query t, with s <= t, is proportional to the dot "
        "product of f(q_t) and f(k_s), where f(x) = elu(x) + 1, and the weights of a query sum to 1. Go "
        "through the tokens in chunks of `chunk` tokens; the last one may be shorter. What later chunks "
        "need from earlier ones must fit into a state whose size does not depend on T. No matrix product "
        "may have more than max(chunk, E, E_v) ** 2 entries; the test checks this.",
        linear_attention,
        _linear_probes,
        (
            Mistake(
                "whole weight matrix",
                "the weights of all tokens are computed at once",
                "The output is right, but the work grows with the square of the length. Read earlier chunks "
                "through a state.",
                _as_matrix,
            ),
            Mistake(
                "future of the own chunk",
                "queries see the later tokens of their own chunk",
                "Within a chunk, mask the products of queries and keys.",
                partial(linear_attention, own=torch.clone),
            ),
            Mistake(
                "own chunk missing",
                "queries see only the earlier chunks",
                "A token also attends to the tokens of its own chunk up to itself.",
                partial(linear_attention, own=torch.zeros_like),
            ),
            Mistake(
                "chunks by themselves",
                "queries see only their own chunk",
                "Add the keys and values of each chunk to the state after reading it.",
                partial(linear_attention, carried=False),
            ),
            Mistake(
                "weights not normalized",
                "the weights of a query do not sum to 1",
                "Divide by the sum of the weights. It needs a state of its own: the sum of the keys.",
                partial(linear_attention, normalized=False),
            ),
            Mistake(
                "divisor of the own chunk",
                "the weights are divided by their sum over the own chunk",
                "The earlier chunks belong to the sum as well. Carry the sum of the keys, too.",
                partial(linear_attention, carried_sum=False),
            ),
            Mistake(
                "feature map forgotten",
                "the dot products are those of q and k themselves",
                "Apply f to both, or weights can be negative.",
                partial(linear_attention, feature=lambda x: x),
            ),
            Mistake(
                "own token missing",
                "a token does not attend to itself",
                "The sum runs over s <= t.",
                partial(linear_attention, own=partial(torch.tril, diagonal=-1)),
            ),
        ),
        (
            "Write the output without chunks first. Which sums over s does it contain?",
            "The sum of the outer products of f(k_s) and v_s is the state for the output. Which sum is the "
            "state for the divisor?",
            "In each chunk, add what the state gives and what the masked products within the chunk give. "
            "Then add the chunk to the state.",
        ),
        level="hard",
        minutes=35,
        after="Chunks of a few hundred tokens keep a GPU busy with matrix products, and the work still grows "
        "linearly with the length. State-space models and DeltaNet are trained in chunks as well.",
        observe=_with_chunks,
    ),
)
