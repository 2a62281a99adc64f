"""The rungs of the ladder that build a GPT: a head, many heads, a block, the model."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.exercises.ladder.text import embed
from llmguide.exercises.ladder.weights import Weights, make_weights
from llmguide.nn.norms import rms_norm

EPS = 1e-5


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
    """Compute one head of causal attention, with switches for the mistakes."""
    scores = x @ q.T @ (x @ k.T).mT * len(q) ** power
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal)
    weights = scores.masked_fill(future, hidden).softmax(dim=axis)
    out: Tensor = weights @ (x @ v.T)
    return out


def _wide_scale(x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention_head(x, q * (len(q) / x.shape[-1]) ** 0.5, k, v)


def multi_head(
    x: Tensor, layer: dict[str, Tensor], n_heads: int, *, interleaved: bool = False, only_first: bool = False
) -> Tensor:
    """Compute causal attention with several heads, with switches for the mistakes."""
    width = x.shape[-1] // n_heads
    rows = [slice(h * width, (h + 1) * width) for h in range(n_heads)]
    if interleaved:
        rows = [slice(h, None, n_heads) for h in range(n_heads)]
    if only_first:
        rows = rows[:1] * n_heads
    heads = [attention_head(x, layer["q"][part], layer["k"][part], layer["v"][part]) for part in rows]
    return torch.cat(heads, dim=-1) @ layer["o"].T


def _unprojected(x: Tensor, layer: dict[str, Tensor], n_heads: int) -> Tensor:
    return multi_head(x, {**layer, "o": torch.eye(x.shape[-1])}, n_heads)


def feed_forward(x: Tensor, layer: dict[str, Tensor]) -> Tensor:
    """Project up, apply GELU, project back down."""
    return F.gelu(x @ layer["up"].T) @ layer["down"].T


def block(x: Tensor, layer: dict[str, Tensor], n_heads: int) -> Tensor:
    """Apply one pre-norm block to the residual stream."""
    x = x + multi_head(rms_norm(x, layer["norm_1"], EPS), layer, n_heads)
    return x + feed_forward(rms_norm(x, layer["norm_2"], EPS), layer)


def _post_norm(x: Tensor, layer: dict[str, Tensor], n_heads: int) -> Tensor:
    x = rms_norm(x + multi_head(x, layer, n_heads), layer["norm_1"], EPS)
    return rms_norm(x + feed_forward(x, layer), layer["norm_2"], EPS)


def _parallel(x: Tensor, layer: dict[str, Tensor], n_heads: int) -> Tensor:
    attended = multi_head(rms_norm(x, layer["norm_1"], EPS), layer, n_heads)
    return x + attended + feed_forward(rms_norm(x, layer["norm_2"], EPS), layer)


def _one_residual(x: Tensor, layer: dict[str, Tensor], n_heads: int) -> Tensor:
    x = x + multi_head(rms_norm(x, layer["norm_1"], EPS), layer, n_heads)
    return feed_forward(rms_norm(x, layer["norm_2"], EPS), layer)


def _relu(x: Tensor, layer: dict[str, Tensor], n_heads: int) -> Tensor:
    x = x + multi_head(rms_norm(x, layer["norm_1"], EPS), layer, n_heads)
    return x + (rms_norm(x, layer["norm_2"], EPS) @ layer["up"].T).relu() @ layer["down"].T


def gpt(ids: Tensor, weights: Weights, n_heads: int, *, step: int = 1, norm: bool = True) -> Tensor:
    """Compute the logits of a GPT, with switches for the mistakes."""
    x = embed(ids, weights)
    for layer in weights["layers"][::step]:
        x = block(x, layer, n_heads)
    x = rms_norm(x, weights["norm"], EPS) if norm else x
    logits: Tensor = x @ weights["tokens"].T
    return logits


def _layer_probes() -> list[Arguments]:
    first, second = make_weights(1, 1, 2, 12)["layers"]
    return [(noise(1, 2, 5, 12), first, 3), (noise(2, 1, 4, 12), second, 2)]


def _gpt_probes() -> list[Arguments]:
    ids = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(0))
    return [(ids, make_weights(11, 8, 3, 12), 3), (ids[:1, :4], make_weights(11, 4, 2, 12, seed=1), 2)]


EXERCISES = (
    Exercise(
        "attention-head",
        "attention_head(x, q, k, v) returns the output (B, T, E) of one head of causal self-attention on "
        "x, which is (B, T, D). The weights q, k and v are (E, D), in the layout of torch.nn.Linear.",
        attention_head,
        lambda: [(noise(i, 2, 5, 6), *(noise(i + j, 3, 6) for j in (1, 2, 3))) for i in (0, 5)],
        (
            Mistake(
                "scale forgotten",
                "the scores are not scaled",
                "The variance of a dot product grows with the width of the vectors.",
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
                "nothing is masked",
                "A token may attend to itself and to what comes before it.",
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
                "masked scores are 0",
                "A score of 0 still gets weight from the softmax. Which number gets none?",
                partial(attention_head, hidden=0.0),
            ),
            Mistake(
                "queries and keys swapped",
                "the keys ask and the queries answer",
                "Rows of the scores belong to queries, columns to keys.",
                lambda x, q, k, v: attention_head(x, k, q, v),
            ),
        ),
        (
            "First compute three tensors of shape (B, T, E) from x.",
            "Compare each query with each key: which shape do the scores have?",
            "Scale, hide the future, turn scores into weights that sum to 1 for each query, average the "
            "values.",
        ),
        level="warm-up",
        minutes=10,
        after="A head moves information between positions; it is the only part of the model that does. "
        "Everything else works on each position alone.",
    ),
    Exercise(
        "multi-head",
        "multi_head(x, layer, n_heads) returns the output (B, T, D) of multi-head causal self-attention. "
        "layer['q'], layer['k'], layer['v'] and layer['o'] are (D, D), without biases. Each head owns D / "
        "n_heads neighboring rows of the first three.",
        multi_head,
        _layer_probes,
        (
            Mistake(
                "one wide head",
                "there is a single head of full width",
                "Each head has its own softmax, over scores from its own rows.",
                lambda x, layer, n_heads: multi_head(x, layer, 1),
            ),
            Mistake(
                "heads interleaved",
                "a head owns every n-th row",
                "Head 0 owns the first D / n_heads rows, head 1 the next.",
                partial(multi_head, interleaved=True),
            ),
            Mistake(
                "the same head n times",
                "every head uses the rows of the first",
                "The slice must depend on the number of the head.",
                partial(multi_head, only_first=True),
            ),
            Mistake(
                "output projection forgotten",
                "the heads are returned as they come",
                "The matrix o mixes what the heads found.",
                _unprojected,
            ),
            Mistake(
                "output projection transposed",
                "the concatenated heads are multiplied by o instead of its transpose",
                "torch.nn.Linear stores outputs by inputs, so it computes x @ W.T.",
                lambda x, layer, n_heads: multi_head(x, {**layer, "o": layer["o"].T}, n_heads),
            ),
        ),
        (
            "You have a function for one head. Which slices of the weights does head h get?",
            "Put the outputs of the heads side by side on the last axis.",
            "One more matrix multiplication brings them back together.",
        ),
        needs=("attention-head",),
        level="warm-up",
        minutes=10,
        after="Real implementations compute all heads in one batched product, as in exercise split-heads. "
        "The numbers are the same: slicing the weights or slicing the projected vectors is one operation.",
    ),
    Exercise(
        "block",
        "block(x, layer, n_heads) returns the residual stream (B, T, D) after one pre-norm block: "
        "attention, then a feed-forward layer with GELU. Besides the weights of attention, `layer` has "
        f"norm_1 and norm_2 for RMSNorm with eps {EPS:g}, up (4D, D) and down (D, 4D); there are no biases.",
        block,
        _layer_probes,
        (
            Mistake(
                "post-norm",
                "the sums are normalized, as in the Transformer of 2017",
                "In a pre-norm block nothing touches the stream itself but additions.",
                _post_norm,
            ),
            Mistake(
                "parallel sublayers",
                "the feed-forward layer reads the stream before attention has been added",
                "The second sublayer works on the stream that the first has updated.",
                _parallel,
            ),
            Mistake(
                "second residual connection forgotten",
                "the output of the feed-forward layer replaces the stream",
                "Both sublayers add to the stream.",
                _one_residual,
            ),
            Mistake(
                "ReLU instead of GELU",
                "the activation function is ReLU",
                "torch.nn.functional has gelu.",
                _relu,
            ),
            Mistake(
                "first norm used twice",
                "both sublayers use norm_1",
                "Each sublayer has a norm of its own.",
                lambda x, layer, n_heads: block(x, {**layer, "norm_2": layer["norm_1"]}, n_heads),
            ),
        ),
        (
            "There are two sublayers of the same form. Write the form down once.",
            "What does a sublayer read, and where does its output go?",
            "The feed-forward layer: project up, apply the activation function, project down.",
        ),
        needs=("rms-norm", "multi-head"),
        level="medium",
        minutes=10,
        after="This block, repeated, is most of every language model since GPT-2. Later models changed its "
        "parts (SwiGLU for GELU, RoPE for position embeddings, fewer key/value heads), not its form.",
    ),
    Exercise(
        "gpt",
        "gpt(ids, weights, n_heads) returns the logits (B, T, V) of the token that follows each position. "
        "weights['layers'] is a list of layers, weights['norm'] the weight of a final RMSNorm. The output "
        "head is tied to the token embedding.",
        gpt,
        _gpt_probes,
        (
            Mistake(
                "final norm forgotten",
                "the stream is not normalized before the head",
                "A pre-norm model has one norm more than it has sublayers.",
                partial(gpt, norm=False),
            ),
            Mistake(
                "layers in the wrong order",
                "the last layer comes first",
                "The list is in the order from input to output.",
                partial(gpt, step=-1),
            ),
            Mistake(
                "the same layer again",
                "the first layer is applied every time",
                "Each pass through the loop must use the layer of that pass.",
                lambda ids, weights, n_heads: gpt(
                    ids, {**weights, "layers": weights["layers"][:1] * len(weights["layers"])}, n_heads
                ),
            ),
            Mistake(
                "last layer skipped",
                "the last layer is left out",
                "Check the bounds of the loop.",
                lambda ids, weights, n_heads: gpt(
                    ids, {**weights, "layers": weights["layers"][:-1]}, n_heads
                ),
            ),
            Mistake(
                "probabilities instead of logits",
                "a softmax is applied at the end",
                "Return logits: the loss and the sampler apply their own softmax.",
                lambda ids, weights, n_heads: gpt(ids, weights, n_heads).softmax(-1),
            ),
        ),
        (
            "From ids to vectors, through the layers, to scores: you have the first two parts.",
            "The tied head scores a token by comparing the stream with the embedding of that token.",
            "Do not forget the norm that belongs to no layer.",
        ),
        needs=("embed", "block", "rms-norm"),
        level="warm-up",
        minutes=10,
        after="That is a complete GPT. With the same weights it gives the same logits as llmguide.GPT with "
        "RMSNorm and no biases. A larger model has more layers and wider ones; the code stays.",
    ),
)
