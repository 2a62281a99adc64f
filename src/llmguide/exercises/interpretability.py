"""Exercises of the interpretability chapter: the logit lens, patching, steering and TopK features."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise


def _lens(
    residual: Tensor, weight: Tensor, bias: Tensor, unembedding: Tensor, *, norm: bool = True
) -> Tensor:
    x = F.layer_norm(residual, weight.shape, weight, bias) if norm else residual
    return x @ unembedding.T


def _last_layer_norm(residual: Tensor, weight: Tensor, bias: Tensor, unembedding: Tensor) -> Tensor:
    last = residual[-1]
    scale = last.var(dim=-1, keepdim=True, correction=0).add(1e-5).rsqrt()
    return ((residual - last.mean(dim=-1, keepdim=True)) * scale * weight + bias) @ unembedding.T


def _lens_probes() -> list[Arguments]:
    return [
        (3 * noise(60, 3, 2, 6), 1 + noise(61, 6), noise(62, 6), noise(63, 6, 6)),
        (noise(64, 2, 1, 4) + 1, 1 + noise(65, 4), noise(66, 4), noise(67, 4, 4)),
    ]


def _restored(patched: float, clean: float, corrupted: float) -> float:
    return (patched - corrupted) / (clean - corrupted)


def _steering_vector(positive: Tensor, negative: Tensor) -> Tensor:
    return positive[:, -1].mean(dim=0) - negative[:, -1].mean(dim=0)


def _steering_probes() -> list[Arguments]:
    return [(noise(68, 3, 4, 5), noise(69, 2, 6, 5)), (noise(70, 2, 3, 4), 2 * noise(71, 4, 2, 4))]


def _topk_features(x: Tensor, encoder: Tensor, bias: Tensor, k: int, *, absolute: bool = False) -> Tensor:
    scores = (x - bias) @ encoder.T
    indices = (scores.abs() if absolute else scores).topk(k, dim=-1).indices
    return torch.zeros_like(scores).scatter(-1, indices, scores.gather(-1, indices).relu())


def _topk_probes() -> list[Arguments]:
    # With k = 5 of 6 features, some of the largest are negative.
    return [
        (noise(72, 4, 3), noise(73, 7, 3), noise(74, 3), 2),
        (noise(75, 3, 4), noise(76, 6, 4), noise(77, 4), 5),
    ]


def evaluate_sae(
    x: Tensor,
    encoder: Tensor,
    decoder: Tensor,
    bias: Tensor,
    k: int,
    *,
    centered: bool = True,
    add_bias: bool = True,
    each: bool = False,
) -> tuple[float, float, float]:
    """Measure a TopK sparse autoencoder, with switches for the mistakes."""
    features = _topk_features(x, encoder, bias, k)
    active = features > 0
    errors = x - features @ decoder - (bias if add_bias else 0.0)
    deviations = x - x.mean(dim=0) if centered else x
    error, variance = errors.square().sum(dim=-1), deviations.square().sum(dim=-1)
    explained = (1 - error / variance).mean() if each else 1 - error.sum() / variance.sum()
    dead = 1 - active.any(dim=0).float().mean()
    return active.sum(dim=-1).float().mean().item(), explained.item(), dead.item()


def _sae_probes() -> list[Arguments]:
    return [
        (noise(78, 5, 4) + 1, noise(79, 8, 4), noise(80, 8, 4), noise(81, 4), 3),
        (noise(82, 3, 3), noise(83, 6, 3), 0.5 * noise(84, 6, 3), noise(85, 3), 5),
    ]


EXERCISES = (
    Exercise(
        "logit-lens",
        "logit_lens(residual, weight, bias, unembedding) returns the logits (L, T, V) of residual streams "
        "(L, T, D) after a final LayerNorm with eps 1e-5. `unembedding` has one row (D) per token.",
        _lens,
        _lens_probes,
        (
            Mistake(
                "final norm left out",
                "the residual stream goes into the output head without the final norm",
                "The head was trained on normalized vectors.",
                partial(_lens, norm=False),
            ),
            Mistake(
                "norm without its parameters",
                "the norm has no weight and no bias",
                "Pass weight and bias to F.layer_norm.",
                lambda residual, weight, bias, unembedding: (
                    F.layer_norm(residual, weight.shape) @ unembedding.T
                ),
            ),
            Mistake(
                "scale of the last layer",
                "every layer is normalized with mean and variance of the last one",
                "The lens normalizes each layer by itself. Only attribution freezes the scale.",
                _last_layer_norm,
            ),
            Mistake(
                "unembedding transposed",
                "the vectors are multiplied by columns of the unembedding",
                "A logit is the dot product with one row.",
                lambda residual, weight, bias, unembedding: (
                    F.layer_norm(residual, weight.shape, weight, bias) @ unembedding
                ),
            ),
        ),
        (
            "What does the model do with the last residual stream? Do the same with each.",
            "Two steps: the final norm, then the output head.",
            "F.layer_norm(residual, weight.shape, weight, bias), then the product with the transposed "
            "unembedding.",
        ),
        level="medium",
        minutes=5,
    ),
    Exercise(
        "restored",
        "restored(patched, clean, corrupted) returns the fraction of the difference between the clean and "
        "the corrupted metric that a patch restores.",
        _restored,
        lambda: [(2.0, 3.0, -1.0), (0.5, -2.0, 1.5), (4.0, 3.0, 1.0)],
        (
            Mistake(
                "ratio to the clean metric",
                "the patched metric is divided by the clean one",
                "A patch that changes nothing must give 0, so subtract the corrupted metric.",
                lambda patched, clean, corrupted: patched / clean,
            ),
            Mistake(
                "clean and corrupted swapped",
                "1 means that nothing was restored",
                "Measure from the corrupted run.",
                lambda patched, clean, corrupted: (patched - clean) / (corrupted - clean),
            ),
            Mistake(
                "not normalized",
                "the difference is not divided by the difference between both prompts",
                "A patch that restores the clean run must give 1.",
                lambda patched, clean, corrupted: patched - corrupted,
            ),
            Mistake(
                "clipped",
                "values are clipped to the range from 0 to 1",
                "A patch can overshoot, or push the wrong way. Keep those values.",
                lambda patched, clean, corrupted: min(max(_restored(patched, clean, corrupted), 0.0), 1.0),
            ),
        ),
        (
            "0 where the patch changes nothing, 1 where the clean metric returns.",
            "Measure both the patched and the clean metric from the corrupted one.",
            "Divide one of these differences by the other.",
        ),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "steering-vector",
        "steering_vector(positive, negative) returns the difference of the mean activations at the last "
        "token, a vector (D). Both arguments have shape (texts, T, D); their numbers of texts can differ.",
        _steering_vector,
        _steering_probes,
        (
            Mistake(
                "sign reversed",
                "the mean of the positive texts is subtracted",
                "The vector points toward the property: positive minus negative.",
                lambda positive, negative: -_steering_vector(positive, negative),
            ),
            Mistake(
                "first token",
                "the activations of the first token are used",
                "In a causal model only the last token has seen the whole text.",
                lambda positive, negative: positive[:, 0].mean(dim=0) - negative[:, 0].mean(dim=0),
            ),
            Mistake(
                "mean over all tokens",
                "the mean runs over all tokens, too",
                "Take index -1 of the token axis first.",
                lambda positive, negative: positive.mean(dim=(0, 1)) - negative.mean(dim=(0, 1)),
            ),
            Mistake(
                "sums instead of means",
                "the activations are added up, so that the larger set counts more",
                "Divide each sum by its number of texts.",
                lambda positive, negative: positive[:, -1].sum(dim=0) - negative[:, -1].sum(dim=0),
            ),
        ),
        (
            "Index the token axis before you average.",
            "positive[:, -1] has the shape (texts, D).",
            "Average each set over its texts, and subtract the negative mean from the positive one.",
        ),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "topk-features",
        "topk_features(x, encoder, bias, k) returns the features (N, F) of vectors (N, D) in a TopK sparse "
        "autoencoder. `encoder` has one row (D) per feature. Subtract the bias first.",
        _topk_features,
        _topk_probes,
        (
            Mistake(
                "bias not subtracted",
                "the vectors go into the encoder without subtracting the bias",
                "The features describe how a vector differs from the bias.",
                lambda x, encoder, bias, k: _topk_features(x, encoder, torch.zeros_like(bias), k),
            ),
            Mistake(
                "no TopK",
                "every positive feature is kept",
                "Keep the k largest of each vector.",
                lambda x, encoder, bias, k: _topk_features(x, encoder, bias, len(encoder)),
            ),
            Mistake(
                "no ReLU",
                "negative features among the k largest are kept",
                "Replace them with 0, because a feature is never negative.",
                lambda x, encoder, bias, k: torch.where(
                    (x - bias) @ encoder.T >= ((x - bias) @ encoder.T).topk(k).values[:, -1:],
                    (x - bias) @ encoder.T,
                    0.0,
                ),
            ),
            Mistake(
                "largest absolute values",
                "the k features with the largest absolute values are kept",
                "Choose by value, so that large negative ones do not take a place.",
                partial(_topk_features, absolute=True),
            ),
        ),
        (
            "Compute all dot products, then keep k per row.",
            "values, indices = scores.topk(k, dim=-1)",
            "scatter writes the values into a tensor of zeros at these indices. Negative ones become 0: "
            "values.relu().",
        ),
        level="medium",
        minutes=10,
    ),
    Exercise(
        "evaluate-sae",
        "evaluate_sae(x, encoder, decoder, bias, k) measures a TopK sparse autoencoder on vectors `x` (N, "
        "D). `encoder` and `decoder` (F, D) have one row per feature. The features come from topk_features; "
        "the decoder adds up its rows, weighted by the features, and the bias, which the encoder has "
        "subtracted. A feature is active on a vector if it is not 0. Return a tuple of three floats: the "
        "mean number of active features per vector (L0); the fraction of the variance that the "
        "reconstructions explain (1 if they are exact), where the variance is the sum of the squared "
        "distances of all vectors from their mean; and the fraction of dead features, which are active on no "
        "vector.",
        evaluate_sae,
        _sae_probes,
        (
            Mistake(
                "k for L0",
                "L0 is k",
                "Some of the k largest values can be negative, and ReLU makes them 0. Count what is left.",
                lambda x, encoder, decoder, bias, k: (
                    float(k),
                    *evaluate_sae(x, encoder, decoder, bias, k)[1:],
                ),
            ),
            Mistake(
                "variance around 0",
                "the squared lengths of the vectors stand for the variance",
                "Subtract the mean vector first, or an autoencoder looks good for knowing the mean.",
                partial(evaluate_sae, centered=False),
            ),
            Mistake(
                "bias not added again",
                "the reconstruction lacks the bias",
                "The encoder subtracts it, so the decoder adds it.",
                partial(evaluate_sae, add_bias=False),
            ),
            Mistake(
                "mean of the fractions",
                "the explained fraction is computed for each vector and averaged",
                "Add up errors and squared deviations over all vectors, and divide once.",
                partial(evaluate_sae, each=True),
            ),
            Mistake(
                "inactive taken for dead",
                "the last number is the fraction of zeros among all features of all vectors",
                "A dead feature is 0 on every vector.",
                lambda x, encoder, decoder, bias, k: (
                    *evaluate_sae(x, encoder, decoder, bias, k)[:2],
                    1 - evaluate_sae(x, encoder, decoder, bias, k)[0] / len(encoder),
                ),
            ),
            Mistake(
                "fraction that is not explained",
                "the second number is the error divided by the variance",
                "A perfect reconstruction has the value 1.",
                lambda x, encoder, decoder, bias, k: (
                    (metrics := evaluate_sae(x, encoder, decoder, bias, k))[0],
                    1 - metrics[1],
                    metrics[2],
                ),
            ),
        ),
        (
            "Compute features and reconstructions first. All three numbers follow from `x` and these two.",
            "(features != 0) is a matrix of booleans (N, F). Which numbers come from sums over its rows, and "
            "which from its columns?",
            "The explained fraction is 1 minus the sum of squared errors divided by the sum of squared "
            "deviations from x.mean(dim=0). A feature is dead if its column has no True.",
        ),
        needs=("topk-features",),
        level="medium",
        minutes=15,
        after="These numbers say how sparse and how faithful an autoencoder is. They do not say whether its "
        "features mean anything to people.",
    ),
)
