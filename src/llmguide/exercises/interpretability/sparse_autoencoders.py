"""Exercises of sparse autoencoders: TopK features, and how to evaluate them."""

from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise


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
