"""Exercises of the families chapter on sizes that depend on the kinds of layers: experts and caches."""

from functools import partial
from typing import Any

from llmguide.exercises.definition import Arguments, Exercise, Mistake

# ---- experts -----------------------------------------------------------------------------------------------


def moe_params(
    c: dict[str, Any],
    *,
    dense: bool = True,
    shared: bool = True,
    router: bool = True,
    wide: bool = True,
    all_idle: bool = False,
    matrices: int = 3,
) -> tuple[int, int]:
    """Compute total and active parameters of a mixture of experts, with switches for the mistakes.

    >>> moe_params(MIXTRAL)  # Mixtral 8x7B
    (46702792704, 12879925248)
    """
    d, heads = c["hidden_size"], c["num_attention_heads"] + c["num_key_value_heads"]
    head_dim = c["head_dim"] if wide else d // c["num_attention_heads"]
    expert = matrices * d * c["moe_intermediate_size"]
    n_dense = c["first_k_dense_replace"] if dense else 0
    sparse = d * c["n_routed_experts"] * router + expert * c["n_shared_experts"] * shared
    total = (2 - c["tie_word_embeddings"]) * c["vocab_size"] * d + d
    total += c["num_hidden_layers"] * (2 * d * heads * head_dim + 2 * d)
    total += n_dense * matrices * d * c["intermediate_size"]
    n_sparse = c["num_hidden_layers"] - n_dense
    total += n_sparse * (sparse + c["n_routed_experts"] * expert)
    used = c["num_experts_per_tok"] - (c["n_shared_experts"] if all_idle else 0)
    return total, total - n_sparse * (c["n_routed_experts"] - used) * expert


MIXTRAL = {
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "moe_intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "first_k_dense_replace": 0,
    "n_routed_experts": 8,
    "n_shared_experts": 0,
    "num_experts_per_tok": 2,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 32_000,
    "tie_word_embeddings": False,
}
_FINE_GRAINED = MIXTRAL | {
    "hidden_size": 2048,
    "intermediate_size": 10_944,
    "moe_intermediate_size": 1408,
    "num_hidden_layers": 28,
    "first_k_dense_replace": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
    "head_dim": 192,
}


# ---- caches ------------------------------------------------------------------------------------------------

Layers = list[dict[str, Any]]


def cache_size(
    layers: Layers,
    n_tokens: int,
    *,
    both: int = 2,
    windows: bool = True,
    latent: int = 1,
    rope: bool = True,
    states: bool = True,
) -> int:
    """Compute the bytes of the cache of one sequence in layers of several kinds, at 16 bits per number.

    >>> cache_size([{"kind": "latent", "latent_dim": 512, "rope_dim": 64}] * 61, 1)  # DeepSeek-V3, one token
    70272
    """
    numbers = 0
    for layer in layers:
        if layer["kind"] == "state":
            numbers += layer["heads"] * layer["head_dim"] ** 2 * (1 if states else n_tokens)
        elif layer["kind"] == "latent":
            numbers += latent * (layer["latent_dim"] + layer["rope_dim"] * rope) * n_tokens
        else:
            kept = min(n_tokens, layer["window"]) if layer["kind"] == "sliding" and windows else n_tokens
            numbers += both * layer["kv_heads"] * layer["head_dim"] * kept
    return 2 * numbers


def longest_context(
    layers: Layers, n_sequences: int, budget: int, *, strictly: bool = False, **mistakes: Any
) -> int:
    """Compute the largest number of tokens whose caches fit, with switches for the mistakes."""
    low, high = 0, 1
    budget -= strictly

    def fits(n_tokens: int) -> bool:
        return n_sequences * cache_size(layers, n_tokens, **mistakes) <= budget

    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _context_probes() -> list[Arguments]:
    full = {"kind": "full", "kv_heads": 8, "head_dim": 128}
    sliding = {"kind": "sliding", "kv_heads": 4, "head_dim": 256, "window": 1024}
    latent = {"kind": "latent", "latent_dim": 512, "rope_dim": 64}
    state = {"kind": "state", "heads": 16, "head_dim": 128}
    return [
        ([full] * 4, 2, 2 * 4 * 4096 * 1000),  # fits exactly
        ([sliding] * 5 + [full], 3, 200_000_000),
        ([latent] * 3, 1, 30_000_000),
        ([state] * 3 + [latent], 4, 40_000_000),
        ([sliding, full], 1, 5_000_000),  # shorter than the window
    ]


EXERCISES = (
    Exercise(
        "moe-params",
        "moe_params(config) returns the total and the active parameters, a tuple of two ints, of a decoder "
        "with experts. `config` is a dict. Attention has num_attention_heads query heads and "
        "num_key_value_heads heads of keys and of values, each head_dim wide, which need not be hidden_size "
        "divided by the number of heads; its output layer maps all query heads back to hidden_size. The "
        "first first_k_dense_replace of the num_hidden_layers layers have a dense SwiGLU layer of width "
        "intermediate_size. All other layers have a router, a matrix with a row for each routed expert; "
        "n_routed_experts routed experts, of which a token visits num_experts_per_tok; and n_shared_experts "
        "shared experts, which every token visits. An expert is a SwiGLU layer of width "
        "moe_intermediate_size. There are two RMSNorms in each layer and one at the end, and no biases. "
        "Embedding (vocab_size by hidden_size) and output head are one matrix if tie_word_embeddings. The "
        "active parameters are all except those of the routed experts that a token does not visit.",
        moe_params,
        lambda: [(dict(MIXTRAL),), (dict(_FINE_GRAINED),)],
        (
            Mistake(
                "dense layers ignored",
                "every layer has experts",
                "The first first_k_dense_replace layers have a dense layer instead.",
                partial(moe_params, dense=False),
            ),
            Mistake(
                "shared experts forgotten",
                "the shared experts are not counted",
                "They are there in addition to the routed ones, and every token visits them.",
                partial(moe_params, shared=False),
            ),
            Mistake(
                "shared experts among those visited",
                "the shared experts count as part of num_experts_per_tok",
                "num_experts_per_tok counts routed experts. The shared ones come on top.",
                partial(moe_params, all_idle=True),
            ),
            Mistake(
                "router forgotten",
                "the router has no parameters",
                "It is a matrix of n_routed_experts rows and hidden_size columns in each layer with experts.",
                partial(moe_params, router=False),
            ),
            Mistake(
                "width of a head derived",
                "a head is hidden_size divided by the number of heads wide",
                "Use head_dim.",
                partial(moe_params, wide=False),
            ),
            Mistake(
                "gate forgotten",
                "a feed-forward layer has two matrices",
                "SwiGLU has three: gate, up and down.",
                partial(moe_params, matrices=2),
            ),
        ),
        (
            "Make a list of the matrices: embedding and head, attention, dense layers, routers, experts, "
            "norms.",
            "Compute the total first. What a token does not use is some number of routed experts in each "
            "layer that has experts.",
            "Attention has 2 * hidden_size * (query heads + key heads) * head_dim parameters, an expert 3 * "
            "hidden_size * moe_intermediate_size.",
        ),
        level="medium",
        minutes=20,
        after="The total decides how much memory a model needs, the active parameters how much computation a "
        "token costs. Both are in config.json, so you can check what a model card claims.",
    ),
    Exercise(
        "longest-context",
        "longest_context(layers, n_sequences, budget) returns the largest number of tokens T, an int, such "
        "that the caches of n_sequences sequences of T tokens each fit into `budget` bytes, at 2 bytes per "
        "number. `layers` is a list of dicts, one per layer, with a 'kind'. 'full': grouped-query attention, "
        "with 'kv_heads' and 'head_dim'. 'sliding': the same with a sliding window; only the last 'window' "
        "tokens stay in the cache. 'latent': multi-head latent attention, with 'latent_dim' and 'rope_dim'; "
        "all heads share one latent vector and one rotated key per token. 'state': linear attention, with "
        "'heads' and 'head_dim'; each head keeps one matrix of head_dim by head_dim, however long the text. "
        "At least one layer is full or latent, and at least one token fits.",
        longest_context,
        _context_probes,
        (
            Mistake(
                "values forgotten",
                "layers with grouped-query attention store keys only",
                "Keys and values are both stored.",
                partial(longest_context, both=1),
            ),
            Mistake(
                "window ignored",
                "sliding layers keep all tokens",
                "Keys and values that left the window can be thrown away.",
                partial(longest_context, windows=False),
            ),
            Mistake(
                "latent vector for keys and for values",
                "the latent vector and the rotated key are stored twice",
                "Keys and values are both computed from the one latent vector.",
                partial(longest_context, latent=2),
            ),
            Mistake(
                "rotated key forgotten",
                "latent layers store the latent vector only",
                "The rotated key of rope_dim numbers is stored besides.",
                partial(longest_context, rope=False),
            ),
            Mistake(
                "state for each token",
                "linear attention stores its matrices for each token",
                "The state is overwritten: its size does not depend on the number of tokens.",
                partial(longest_context, states=False),
            ),
            Mistake(
                "batch forgotten",
                "the budget is for one sequence",
                "Each sequence has a cache of its own.",
                lambda layers, n_sequences, budget: longest_context(layers, 1, budget),
            ),
            Mistake(
                "exactly full does not fit",
                "the caches have to be smaller than the budget",
                "They fit if they take as many bytes as there are.",
                partial(longest_context, strictly=True),
            ),
        ),
        (
            "Write a function for the bytes of one sequence of T tokens first.",
            "The bytes grow with T, but not in proportion: windows and states stop growing. So do not "
            "divide. Search.",
            "Double T until the caches no longer fit, and halve the interval between the last two values by "
            "binary search.",
        ),
        level="medium",
        minutes=25,
        after="Gemma, gpt-oss and others alternate full and sliding layers, DeepSeek uses latent attention, "
        "and Qwen3-Next has mostly linear layers. All of them serve long contexts with less memory.",
    ),
)
