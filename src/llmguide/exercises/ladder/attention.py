"""The exercises of the ladder that build attention: one head, and multi-head attention."""

from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.ladder.weights import make_weights


def attention_head(
    x: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    power: float = -0.5,
    diagonal: int = 1,
    hidden: float = -torch.inf,
    axis: int = -1,
) -> Tensor:
    """Compute one head of causal self-attention, with switches for the mistakes."""
    scores = x @ q.T @ (x @ k.T).mT * len(q) ** power
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal)
    weights = scores.masked_fill(future, hidden).softmax(dim=axis)
    out: Tensor = weights @ (x @ v.T)
    return out


def multi_head(
    x: Tensor, layer: dict[str, Tensor], n_heads: int, *, interleaved: bool = False, only_first: bool = False
) -> Tensor:
    """Compute multi-head causal self-attention, with switches for the mistakes."""
    width = x.shape[-1] // n_heads
    rows = [slice(h * width, (h + 1) * width) for h in range(n_heads)]
    if interleaved:
        rows = [slice(h, None, n_heads) for h in range(n_heads)]
    if only_first:
        rows = rows[:1] * n_heads
    heads = [attention_head(x, layer["q"][part], layer["k"][part], layer["v"][part]) for part in rows]
    return torch.cat(heads, dim=-1) @ layer["o"].T


def _wide_scale(x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention_head(x, q * (len(q) / x.shape[-1]) ** 0.5, k, v)


def _unprojected(x: Tensor, layer: dict[str, Tensor], n_heads: int) -> Tensor:
    return multi_head(x, {**layer, "o": torch.eye(x.shape[-1])}, n_heads)


def layer_probes() -> list[Arguments]:
    """Return two streams, each with a layer and its number of heads."""
    first, second = make_weights(1, 1, 2, 12)["layers"]
    return [(noise(1, 2, 5, 12), first, 3), (noise(2, 1, 4, 12), second, 2)]


EXERCISES = (
    Exercise(
        "attention-head",
        "attention_head(x, q, k, v) returns the output (B, T, E) of one head of causal self-attention with "
        "scaled dot products. `x` is (B, T, D). The projection weights q, k and v are (E, D), outputs by "
        "inputs as in torch.nn.Linear; there are no biases and no output projection.",
        attention_head,
        lambda: [(noise(i, 2, 5, 6), *(noise(i + j, 3, 6) for j in (1, 2, 3))) for i in (0, 5)],
        (
            Mistake(
                "scale forgotten",
                "the scores are not scaled",
                "Divide the scores by the square root of the width of the queries. The variance of a dot "
                "product grows with the width of the vectors.",
                partial(attention_head, power=0.0),
            ),
            Mistake(
                "scaled by the width of the model",
                "the scores are scaled as if queries and keys had the width of x",
                "The dot products are between vectors of width E, not D.",
                _wide_scale,
            ),
            Mistake(
                "future visible",
                "no position is masked",
                "A token may attend to itself and to the tokens before it, but not to later tokens.",
                partial(attention_head, hidden=0.0, diagonal=99),
            ),
            Mistake(
                "sees the next token",
                "each token also attends to the one after it",
                "That token is what the model has to predict.",
                partial(attention_head, diagonal=2),
            ),
            Mistake(
                "future scores set to 0",
                "masked scores are set to 0",
                "The softmax gives a score of 0 a positive weight. Which score gets the weight 0?",
                partial(attention_head, hidden=0.0),
            ),
            Mistake(
                "queries and keys swapped",
                "q is used to compute the keys and k to compute the queries",
                "Rows of the score matrix belong to queries, columns to keys.",
                lambda x, q, k, v: attention_head(x, k, q, v),
            ),
        ),
        (
            "First compute three tensors of shape (B, T, E) from x.",
            "Compare each query with each key. Which shape do the scores have?",
            "Scale the scores, mask the future positions, turn the scores of each query into weights that "
            "sum to 1, and average the values with these weights.",
        ),
        level="warm-up",
        minutes=10,
        after="Attention heads are the only part of the model that moves information between positions. "
        "Every other part works on each position alone.",
    ),
    Exercise(
        "multi-head",
        "multi_head(x, layer, n_heads) returns the output (B, T, D) of multi-head causal self-attention on x "
        "(B, T, D). layer['q'], layer['k'], layer['v'] and the output projection layer['o'] are (D, D), "
        "outputs by inputs as in torch.nn.Linear; there are no biases. Head h, counted from 0, uses the h-th "
        "group of D / n_heads adjacent rows of q, k and v.",
        multi_head,
        layer_probes,
        (
            Mistake(
                "one wide head",
                "there is a single head of width D",
                "Each head has its own softmax over scores that are computed from its own rows.",
                lambda x, layer, n_heads: multi_head(x, layer, 1),
            ),
            Mistake(
                "heads interleaved",
                "head h uses the rows h, h + n_heads, h + 2 n_heads and so on",
                "Head 0 uses the first D / n_heads rows, head 1 the next D / n_heads rows.",
                partial(multi_head, interleaved=True),
            ),
            Mistake(
                "the same head n times",
                "every head uses the rows of the first head",
                "The slice of the rows must depend on the number of the head.",
                partial(multi_head, only_first=True),
            ),
            Mistake(
                "output projection forgotten",
                "the concatenated outputs of the heads are returned",
                "Apply the output projection o, which mixes the outputs of the heads.",
                _unprojected,
            ),
            Mistake(
                "output projection transposed",
                "the concatenated heads are multiplied by o instead of its transpose",
                "torch.nn.Linear stores its weight as outputs by inputs, so it computes x @ W.T.",
                lambda x, layer, n_heads: multi_head(x, {**layer, "o": layer["o"].T}, n_heads),
            ),
        ),
        (
            "You have a function for one head. Which slices of the weights does head h use?",
            "Concatenate the outputs of the heads along the last axis.",
            "Then apply the output projection, one more matrix multiplication.",
        ),
        needs=("attention-head",),
        level="warm-up",
        minutes=10,
        after="Real implementations compute all heads in one batched product, as in the exercise "
        "split-heads. The numbers are the same, because slicing the weights before the projection gives the "
        "same vectors as slicing the projected vectors.",
    ),
)
