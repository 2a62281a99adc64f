"""The exercises of the ladder that build a GPT: a block, the model."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, generator
from llmguide.exercises.ladder.attention import layer_probes, multi_head
from llmguide.exercises.ladder.text import embed
from llmguide.exercises.ladder.weights import Weights, make_weights
from llmguide.nn.norms import rms_norm

EPS = 1e-5


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


def _gpt_probes() -> list[Arguments]:
    ids = torch.randint(11, (2, 6), generator=generator(0))
    return [(ids, make_weights(11, 8, 3, 12), 3), (ids[:1, :4], make_weights(11, 4, 2, 12, seed=1), 2)]


EXERCISES = (
    Exercise(
        "block",
        "block(x, layer, n_heads) returns the residual stream (B, T, D) after one pre-norm block: attention, "
        "then a feed-forward layer with GELU (torch.nn.functional.gelu with its defaults). Besides the "
        "weights of multi_head, the dict `layer` has norm_1 and norm_2 (D,), the weights of the RMSNorms "
        f"before attention and before the feed-forward layer, with eps = {EPS:g}. The feed-forward weights "
        "are up (4D, D) and down (D, 4D), outputs by inputs. There are no biases.",
        block,
        layer_probes,
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
