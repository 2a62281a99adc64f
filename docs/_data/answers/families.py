"""Answers to exercises of families, as a reader would write them; the tests grade each."""


def release_kind(weights, free, code, data):
    if not weights:
        return "closed"
    return "open source" if free and code and data else "open weights"


def config_params(config):
    d, wide = config["hidden_size"], config["intermediate_size"]
    kv = d // config["num_attention_heads"] * config["num_key_value_heads"]
    block = 2 * d * d + 2 * d * kv + 3 * d * wide + 2 * d
    tables = 1 if config["tie_word_embeddings"] else 2
    return tables * config["vocab_size"] * d + config["num_hidden_layers"] * block + d


def expert_params(shared, expert, n_experts, n_active):
    return shared + n_experts * expert, shared + n_active * expert


def cache_bytes(n_layers, n_heads, n_kv_heads, width, n_tokens):
    numbers = 2 * n_layers * n_kv_heads * width * n_tokens  # keys and values
    return 2 * numbers
