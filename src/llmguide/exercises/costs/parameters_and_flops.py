"""Exercises on the size of a model: its parameters, the FLOPs of a forward pass."""

from collections.abc import Callable
from functools import partial
from typing import Any

from llmguide.config.model_config import ModelConfig
from llmguide.costs.flops import forward_flops_per_token
from llmguide.exercises.definition import Arguments, Exercise, Mistake

# ---- parameters ------------------------------------------------------------------------------------


def _n_params(V: int, T: int, L: int, d: int) -> int:
    return ModelConfig(vocab_size=V, context_length=T, n_layers=L, d_model=d, n_heads=1).n_params()


def _count(
    V: int,
    T: int,
    L: int,
    d: int,
    *,
    tables: int = 1,
    per_layer: int = 13,
    last: int = 2,
    positions: bool = True,
) -> int:
    """Compute the number of parameters of a GPT-2, with switches for the mistakes."""
    return tables * V * d + positions * T * d + L * (12 * d**2 + per_layer * d) + last * d


# ---- FLOPs -----------------------------------------------------------------------------------------

Config = dict[str, Any]


def _model(config: Config) -> ModelConfig:
    return ModelConfig(**config, context_length=1, activation="swiglu", positions="rope")


def forward_flops(config: Config, n_tokens: int) -> float:
    """Compute the FLOPs of the forward pass of a model of LLaMA's kind over a text."""
    return n_tokens * sum(forward_flops_per_token(_model(config), n_tokens).values())


def _changed(**changes: Callable[[Config], int]) -> Callable[[Config, int], float]:
    """Compute the FLOPs of a config with other values."""
    return lambda config, n: forward_flops(config | {key: new(config) for key, new in changes.items()}, n)


def _without(*parts: str, factor: float = 1.0) -> Callable[[Config, int], float]:
    """Compute the FLOPs without a fraction of some parts."""
    return lambda config, n: (
        forward_flops(config, n)
        - n * factor * sum(forward_flops_per_token(_model(config), n)[part] for part in parts)
    )


def _flops_probes() -> list[Arguments]:
    keys = "vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_ff"
    values = (128_256, 4096, 32, 32, 8, 14_336), (1000, 64, 3, 8, 2, 176)
    return [(dict(zip(keys, row, strict=True)), n) for row, n in zip(values, (8192, 50), strict=True)]


EXERCISES = (
    Exercise(
        "count-parameters",
        "n_params(V, T, L, d) counts the parameters of a GPT-2: vocabulary V, context T, L blocks of width "
        "d with "
        "feed-forward width 4d, biases everywhere, a final norm, and a head tied to the token embedding.",
        _n_params,
        lambda: [(50_257, 1024, 12, 768), (50_257, 1024, 48, 1600), (100, 8, 1, 16)],
        (
            Mistake(
                "head counted twice",
                "the output head is counted in addition to the token embedding",
                "They are tied: one matrix with two uses.",
                partial(_count, tables=2),
            ),
            Mistake(
                "biases and norms forgotten",
                "only the matrices of a block are counted",
                "Attention has 4d biases, the feed-forward layer 5d, two norms 4d.",
                partial(_count, per_layer=0),
            ),
            Mistake(
                "norms of the blocks forgotten",
                "the two norms of each block are left out",
                "Each has a weight and a bias: 4d per block.",
                partial(_count, per_layer=9),
            ),
            Mistake(
                "final norm forgotten",
                "the norm before the head is left out",
                "A pre-norm model has one more norm at the end: 2d.",
                partial(_count, last=0),
            ),
            Mistake(
                "positions forgotten",
                "the position embedding is left out",
                "GPT-2 learns a vector for each of its T positions.",
                partial(_count, positions=False),
            ),
        ),
        ("A block: 4 d^2 in attention, 8 d^2 in the feed-forward layer, and what is linear in d.",),
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "forward-flops",
        "forward_flops(config, n_tokens) returns the FLOPs of the matrix products in a forward pass of a "
        "decoder of LLaMA's kind over a text of n_tokens tokens. `config` is a dict with vocab_size, "
        "d_model, n_layers, n_heads query heads, n_kv_heads key/value heads and d_ff, the width of the "
        "SwiGLU layer. A head has the width d_model / n_heads. A multiplication and an addition are two "
        "FLOPs. Count the scores of all pairs of positions, masked ones included, and the logits of every "
        "token. Looking up an embedding is no matrix product.",
        forward_flops,
        _flops_probes,
        (
            Mistake(
                "multiply-adds counted once",
                "a multiplication and an addition count as one FLOP",
                "A product of (m, n) and (n, p) has m n p multiplications and as many additions.",
                lambda config, n: forward_flops(config, n) / 2,
            ),
            Mistake(
                "keys and values as wide as queries",
                "there are as many key/value heads as query heads",
                "Keys and values have n_kv_heads heads each.",
                _changed(n_kv_heads=lambda config: config["n_heads"]),
            ),
            Mistake(
                "feed-forward layer without its gate",
                "the feed-forward layer has two matrices",
                "SwiGLU has three: gate, up and down.",
                _without("feed_forward", factor=1 / 3),
            ),
            Mistake(
                "attention without scores",
                "only products with weights are counted",
                "Queries meet keys, and the weights meet values. These two products grow with the square of "
                "the length.",
                _without("scores", "values"),
            ),
            Mistake(
                "half of the attention",
                "only half of the FLOPs of the scores and the weighted sums is counted",
                "There are two products for each pair of positions: the score, and the weight times the "
                "value. The task counts masked pairs as well.",
                _without("values"),
            ),
            Mistake(
                "head forgotten",
                "the product that gives the logits is left out",
                "The last hidden states are multiplied by a matrix (vocab_size, d_model).",
                _without("head"),
            ),
            Mistake(
                "embedding as a matrix product",
                "the embedding counts as a product with a matrix of vocab_size rows",
                "Looking up a row costs no FLOPs.",
                lambda config, n: forward_flops(config, n) + 2 * n * config["vocab_size"] * config["d_model"],
            ),
            Mistake(
                "logits of the last token only",
                "the logits of one token are counted",
                "The task counts the logits of every token, as training needs them.",
                lambda config, n: (
                    forward_flops(config, n) - 2 * (n - 1) * config["vocab_size"] * config["d_model"]
                ),
            ),
        ),
        (
            "Which matrices of weights does a layer have? A token costs 2 FLOPs for each of their entries.",
            "Attention has four: two of d_model by d_model, and two of d_model by the width of the keys.",
            "Besides the weights, each layer has two products for each pair of positions, of 2 * d_model "
            "FLOPs each.",
        ),
        level="medium",
        minutes=15,
        after="Without the attention scores this is about 2 FLOPs for each parameter and token, which is "
        "where the rule of 2 N for the forward pass and 6 N for training comes from.",
    ),
)
