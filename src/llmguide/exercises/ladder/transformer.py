"""The exercises of the ladder that build a GPT: a head, multi-head attention, a block, the model."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, generator, noise
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
    """Compute one head of causal self-attention, with switches for the mistakes."""
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
    """Compute multi-head causal self-attention, with switches for the mistakes."""
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
    ids = torch.randint(11, (2, 6), generator=generator(0))
    return [(ids, make_weights(11, 8, 3, 12), 3), (ids[:1, :4], make_weights(11, 4, 2, 12, seed=1), 2)]


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
        _layer_probes,
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
    Exercise(
        "block",
        "block(x, layer, n_heads) returns the residual stream (B, T, D) after one pre-norm block: attention, "
        "then a feed-forward layer with GELU (torch.nn.functional.gelu with its defaults). Besides the "
        "weights of multi_head, the dict `layer` has norm_1 and norm_2 (D,), the weights of the RMSNorms "
        f"before attention and before the feed-forward layer, with eps = {EPS:g}. The feed-forward weights "
        "are up (4D, D) and down (D, 4D), outputs by inputs. There are no biases.",
        block,
        _layer_probes,
        (
            Mistake(
                "post-norm",
                "the residual stream is normalized after each addition, as in the Transformer of 2017",
                "In a pre-norm block, normalize the input of each sublayer. The residual stream itself is "
                "only changed by additions.",
                _post_norm,
            ),
            Mistake(
                "parallel sublayers",
                "the feed-forward layer reads the residual stream before the output of attention is added",
                "The feed-forward layer reads the stream that attention has already updated.",
                _parallel,
            ),
            Mistake(
                "second residual connection forgotten",
                "the output of the feed-forward layer replaces the residual stream",
                "Add the output of both sublayers to the stream.",
                _one_residual,
            ),
            Mistake(
                "ReLU instead of GELU",
                "the activation function is ReLU",
                "Use torch.nn.functional.gelu.",
                _relu,
            ),
            Mistake(
                "first norm used twice",
                "both sublayers use norm_1",
                "The feed-forward layer has its own norm, norm_2.",
                lambda x, layer, n_heads: block(x, {**layer, "norm_2": layer["norm_1"]}, n_heads),
            ),
        ),
        (
            "Both sublayers have the same form: normalize, apply the sublayer, add.",
            "What is the input of a sublayer, and to what is its output added?",
            "The feed-forward layer projects up, applies the activation function and projects down.",
        ),
        needs=("rms-norm", "multi-head"),
        level="medium",
        minutes=10,
        after="GPT-2 and most later language models repeat such a block. Many later models changed its parts "
        "(SwiGLU instead of GELU, RoPE instead of position embeddings, fewer key/value heads), but kept its "
        "form.",
    ),
    Exercise(
        "gpt",
        "gpt(ids, weights, n_heads) returns the logits (B, T, V) of the token that follows each position of "
        "`ids` (B, T). weights['tokens'] and weights['positions'] are those of embed, weights['layers'] is a "
        "list of dicts for block, and weights['norm'] (D,) is the weight of a final RMSNorm with eps = "
        f"{EPS:g}. The output head is tied to the token embedding and has no bias.",
        gpt,
        _gpt_probes,
        (
            Mistake(
                "final norm forgotten",
                "the residual stream is not normalized before the output head",
                "Apply the final norm. A pre-norm model has one more norm than it has sublayers.",
                partial(gpt, norm=False),
            ),
            Mistake(
                "layers in the wrong order",
                "the layers are applied from last to first",
                "The list of layers is in the order from input to output.",
                partial(gpt, step=-1),
            ),
            Mistake(
                "the same layer again",
                "the first layer is applied every time",
                "Each iteration of the loop must use its own layer.",
                lambda ids, weights, n_heads: gpt(
                    ids, {**weights, "layers": weights["layers"][:1] * len(weights["layers"])}, n_heads
                ),
            ),
            Mistake(
                "last layer skipped",
                "the last layer is not applied",
                "Check the bounds of the loop.",
                lambda ids, weights, n_heads: gpt(
                    ids, {**weights, "layers": weights["layers"][:-1]}, n_heads
                ),
            ),
            Mistake(
                "probabilities instead of logits",
                "a softmax is applied at the end",
                "Return the logits. The loss and the sampler apply their own softmax.",
                lambda ids, weights, n_heads: gpt(ids, weights, n_heads).softmax(-1),
            ),
        ),
        (
            "First embed the ids, then apply the layers, then compute the logits. You have functions for the "
            "first two.",
            "With a tied head, the logit of a token is the dot product of the normalized stream with the "
            "embedding of that token.",
            "The final norm comes after the last layer and before the output head.",
        ),
        needs=("embed", "block", "rms-norm"),
        level="warm-up",
        minutes=10,
        after="This is a complete GPT. With the same weights it gives the same logits as "
        "llmguide.models.GPT with RMSNorm and without biases. A larger model has more and wider layers, but "
        "the same code.",
    ),
)
