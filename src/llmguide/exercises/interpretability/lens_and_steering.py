"""Exercises of the interpretability chapter: the logit lens, patching and steering."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise


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
)
