"""Answers to exercises of the sizes of models, as a reader would write them; the tests grade each."""


def moe_params(config):
    d = config["hidden_size"]
    n_dense = config["first_k_dense_replace"]
    n_sparse = config["num_hidden_layers"] - n_dense
    heads = config["num_attention_heads"] + config["num_key_value_heads"]
    attention = 2 * d * heads * config["head_dim"]
    expert = 3 * d * config["moe_intermediate_size"]
    n_experts = config["n_routed_experts"]
    total = config["vocab_size"] * d * (1 if config["tie_word_embeddings"] else 2) + d
    total += config["num_hidden_layers"] * (attention + 2 * d)
    total += n_dense * 3 * d * config["intermediate_size"]
    total += n_sparse * (d * n_experts + (n_experts + config["n_shared_experts"]) * expert)
    idle = n_experts - config["num_experts_per_tok"]
    return total, total - n_sparse * idle * expert


def longest_context(layers, n_sequences, budget):
    def size(n_tokens):
        numbers = 0
        for layer in layers:
            if layer["kind"] == "state":
                numbers += layer["heads"] * layer["head_dim"] ** 2
            elif layer["kind"] == "latent":
                numbers += (layer["latent_dim"] + layer["rope_dim"]) * n_tokens
            else:
                kept = min(n_tokens, layer.get("window", n_tokens))
                numbers += 2 * layer["kv_heads"] * layer["head_dim"] * kept
        return 2 * numbers * n_sequences

    low, high = 1, 2
    while size(high) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if size(middle) <= budget:
            low = middle
        else:
            high = middle
    return low
