"""Exercises of the families chapter: what was released, how many parameters, how much memory."""

from typing import Any

from llmguide.exercises.definition import Exercise, Mistake

# ---- what was released -----------------------------------------------------------------------------


def release_kind(weights: bool, free: bool, code: bool, data: bool) -> str:
    """Classify a release by what was published and whether its license allows any use.

    >>> release_kind(True, True, False, False)  # Mistral 7B: Apache 2.0, data and training code not public
    'open weights'
    """
    if not weights:
        return "closed"
    return "open source" if free and code and data else "open weights"


# ---- sizes -----------------------------------------------------------------------------------------


def config_params(c: dict[str, Any]) -> int:
    """Compute the number of parameters of a LLaMA-like model from its config.json.

    >>> config_params(SMOLLM2)  # SmolLM2-135M
    134515008
    """
    d = c["hidden_size"]
    kv = d // c["num_attention_heads"] * c["num_key_value_heads"]
    block = 2 * d * d + 2 * d * kv + 3 * d * c["intermediate_size"] + 2 * d
    vocabularies = 1 if c["tie_word_embeddings"] else 2
    return int(vocabularies * c["vocab_size"] * d + c["num_hidden_layers"] * block + d)


SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49_152,
    "tie_word_embeddings": True,
}
_UNTIED = SMOLLM2 | {"tie_word_embeddings": False, "num_key_value_heads": 9, "vocab_size": 32_000}


def expert_params(shared: int, expert: int, n_experts: int, n_active: int) -> tuple[int, int]:
    """Compute the total and active parameters of a mixture of experts.

    >>> expert_params(10, 5, 8, 2)
    (50, 20)
    """
    return shared + n_experts * expert, shared + n_active * expert


# ---- memory ----------------------------------------------------------------------------------------


def cache_bytes(n_layers: int, n_heads: int, n_kv_heads: int, width: int, n_tokens: int) -> int:
    """Compute the bytes of the key/value cache of all tokens, at 16 bits per number.

    >>> cache_bytes(32, 32, 8, 128, 1)  # Llama 3 8B, one token: 128 KiB
    131072
    """
    return 2 * n_layers * n_kv_heads * width * n_tokens * 2


EXERCISES = (
    Exercise(
        "release-kind",
        "release_kind(weights, free, code, data): 'closed', 'open weights' or 'open source', from whether "
        "the weights can be downloaded, the license allows any use, and training code and data are public.",
        release_kind,
        lambda: [
            (weights, free, code, data)
            for weights in (False, True)
            for free in (False, True)
            for code in (False, True)
            for data in (False, True)
        ],
        (
            Mistake(
                "a free license is enough",
                "weights under a free license count as open source",
                "Mistral 7B is Apache 2.0, and nobody can rebuild it: data and training code are missing.",
                lambda weights, free, code, data: (
                    "closed" if not weights else "open source" if free else "open weights"
                ),
            ),
            Mistake(
                "license ignored",
                "a release with code and data counts as open source under any license",
                "Open source may be used by anybody for anything. Ask for `free` as well.",
                lambda weights, free, code, data: (
                    "closed" if not weights else "open source" if code and data else "open weights"
                ),
            ),
            Mistake(
                "data not asked for",
                "free weights with their code count as open source",
                "Without enough about the data nobody can build an equivalent model.",
                lambda weights, free, code, data: (
                    "closed" if not weights else "open source" if free and code else "open weights"
                ),
            ),
            Mistake(
                "what can be downloaded is open source",
                "every release of weights counts as open source",
                "LLaMA-2 can be downloaded, and its license restricts who uses it and for what.",
                lambda weights, free, code, data: "open source" if weights else "closed",
            ),
        ),
        (
            "Without weights it is closed, whatever else was published.",
            "Open source: nothing is held back.",
            "Open source needs all four. Weights without one of the other three are open weights.",
        ),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "config-params",
        "config_params(config): parameters of a model of LLaMA's kind, from the dict in its config.json: "
        "hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, "
        "vocab_size, tie_word_embeddings. No biases; two RMSNorms in a block and one at the end.",
        config_params,
        lambda: [(dict(SMOLLM2),), (dict(_UNTIED),)],
        (
            Mistake(
                "tied head counted",
                "embedding and head count twice although they are one matrix",
                "With tie_word_embeddings the head is the embedding.",
                lambda c: config_params(c | {"tie_word_embeddings": False}),
            ),
            Mistake(
                "head forgotten",
                "the vocabulary counts once although embedding and head are two matrices",
                "Without tie_word_embeddings the head has a matrix of its own.",
                lambda c: config_params(c | {"tie_word_embeddings": True}),
            ),
            Mistake(
                "gate forgotten",
                "the feed-forward layer has two matrices",
                "SwiGLU has three: gate, up and down.",
                lambda c: config_params(c | {"intermediate_size": c["intermediate_size"] * 2 // 3}),
            ),
            Mistake(
                "grouped keys ignored",
                "keys and values are as wide as the queries",
                "They have num_key_value_heads heads of the same width.",
                lambda c: config_params(c | {"num_key_value_heads": c["num_attention_heads"]}),
            ),
            Mistake(
                "norms of the blocks forgotten",
                "the norms in the blocks have no weights",
                "Each RMSNorm has one weight per component, and each block has two norms.",
                lambda c: config_params(c) - 2 * c["hidden_size"] * c["num_hidden_layers"],
            ),
            Mistake(
                "last norm forgotten",
                "there is no norm after the last block",
                "There is one more RMSNorm before the head.",
                lambda c: config_params(c) - c["hidden_size"],
            ),
        ),
        (
            "List the matrices of one block, then what there is besides the blocks.",
            "A block: queries and output d x d each, keys and values d x kv each, three of d x "
            "intermediate_size, two norms of d.",
            "kv = hidden_size / num_attention_heads * num_key_value_heads. Embedding and head count once if "
            "they are tied.",
        ),
        level="medium",
        minutes=15,
    ),
    Exercise(
        "expert-params",
        "expert_params(shared, expert, n_experts, n_active): total and active parameters of a mixture of "
        "experts. `shared` is the number of parameters that every token uses, and `expert` that of one "
        "expert in all layers together.",
        expert_params,
        lambda: [(1_605_439_488, 5_637_144_576, 8, 2), (10, 5, 4, 1)],
        (
            Mistake(
                "everything times the experts",
                "each expert is counted as a whole model",
                "Experts share attention, embeddings and norms. Mixtral 8x7B has 46.7 billion, not 8 times "
                "7.",
                lambda shared, expert, n_experts, n_active: (
                    n_experts * (shared + expert),
                    n_active * (shared + expert),
                ),
            ),
            Mistake(
                "shared part not active",
                "the active parameters are those of the experts alone",
                "Every token uses the shared parameters too.",
                lambda shared, expert, n_experts, n_active: (shared + n_experts * expert, n_active * expert),
            ),
            Mistake(
                "active as a fraction of the total",
                "the total is multiplied by active over all experts",
                "Only experts are chosen; all other parameters are active for every token.",
                lambda shared, expert, n_experts, n_active: (
                    shared + n_experts * expert,
                    (shared + n_experts * expert) * n_active // n_experts,
                ),
            ),
            Mistake(
                "all experts active",
                "every token is sent to every expert",
                "The router picks n_active of them.",
                lambda shared, expert, n_experts, n_active: (shared + n_experts * expert,) * 2,
            ),
            Mistake(
                "one expert active",
                "each token visits one expert",
                "It visits n_active of them.",
                lambda shared, expert, n_experts, n_active: (shared + n_experts * expert, shared + expert),
            ),
            Mistake(
                "active before total",
                "the two numbers are in the other order",
                "Return the total first.",
                lambda *arguments: expert_params(*arguments)[::-1],
            ),
        ),
        (
            "Total for memory, active for speed.",
            "Each expert is stored, but a token visits only n_active of them.",
            "Both numbers contain the shared parameters, plus a number of experts times the size of one.",
        ),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "cache-bytes",
        "cache_bytes(n_layers, n_heads, n_kv_heads, width, n_tokens): bytes of a KV cache in 16 bits; "
        "n_heads query heads, n_kv_heads heads of keys and values, each `width` wide.",
        cache_bytes,
        lambda: [(32, 32, 8, 128, 8192), (30, 9, 3, 64, 400)],
        (
            Mistake(
                "values forgotten",
                "only the keys are stored",
                "Keys and values are both stored, so count twice.",
                lambda *sizes: cache_bytes(*sizes) // 2,
            ),
            Mistake(
                "bits for bytes",
                "each number takes 16 bytes",
                "16 bits are 2 bytes.",
                lambda *sizes: cache_bytes(*sizes) * 8,
            ),
            Mistake(
                "as many as query heads",
                "every query head has keys and values of its own",
                "Grouped-query attention avoids this: count n_kv_heads.",
                lambda L, H, K, E, T: cache_bytes(L, K, H, E, T),
            ),
            Mistake(
                "one layer",
                "the cache of one layer is counted",
                "Every layer has its own keys and values.",
                lambda L, H, K, E, T: cache_bytes(1, H, K, E, T),
            ),
            Mistake(
                "4 bytes for each number",
                "each number takes 32 bits",
                "16 bits are 2 bytes.",
                lambda *sizes: cache_bytes(*sizes) * 2,
            ),
            Mistake(
                "heads in a group counted",
                "the number of query heads for each head of keys is used",
                "The cache has n_kv_heads heads, whatever the number of query heads that share each.",
                lambda L, H, K, E, T: cache_bytes(L, H, H // K, E, T),
            ),
        ),
        (
            "How many numbers does the cache store for one token in one layer?",
            "Keys and values, for each of the heads that have their own.",
            "Multiply by layers and tokens, and by the bytes of a number of 16 bits.",
        ),
        level="warm-up",
        minutes=5,
    ),
)
