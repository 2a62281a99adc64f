"""Sample the arguments of hidden tests: architectures, their sizes and their costs."""

from random import Random

from llmguide.exercises.definition import Arguments
from llmguide.exercises.models.family_sizes import cache_size
from llmguide.exercises.samplers.values import Sampler, integers


def _causal_mask(random: Random) -> Arguments:
    n_keys = random.randint(1, 9)
    return random.randint(1, n_keys), n_keys


def _sliding_window(random: Random) -> Arguments:
    length = random.randint(2, 9)
    return length, random.randint(1, length)


def _restored(random: Random) -> Arguments:
    corrupted = random.uniform(-2, 2)
    return random.uniform(-4, 4), corrupted + random.choice((-1, 1)) * random.uniform(1, 4), corrupted


def _config_params(random: Random) -> Arguments:
    n_kv_heads, group = random.choice((1, 2, 4)), random.choice((1, 2, 3))
    config = {
        "hidden_size": n_kv_heads * group * 16 * random.randint(1, 8),
        "intermediate_size": random.randint(64, 4096),
        "num_hidden_layers": random.randint(1, 40),
        "num_attention_heads": n_kv_heads * group,
        "num_key_value_heads": n_kv_heads,
        "vocab_size": random.randint(100, 100_000),
        "tie_word_embeddings": random.random() < 0.5,
    }
    return (config,)


def _expert_params(random: Random) -> Arguments:
    n_experts = random.randint(2, 64)
    return (*integers(random, 2, 10, 10**9), n_experts, random.randint(1, n_experts))


def _cache_bytes(random: Random) -> Arguments:
    n_kv_heads = random.randint(1, 8)
    n_heads = n_kv_heads * random.randint(1, 8)
    return random.randint(1, 80), n_heads, n_kv_heads, random.choice((64, 96, 128)), random.randint(1, 9999)


def _longer_rope(random: Random) -> Arguments:
    sizes = 2 * random.randint(2, 16), 10 ** random.uniform(2, 6)
    return *sizes, random.uniform(2, 16), random.randint(30, 9000)


def _alibi(random: Random) -> Arguments:
    T_k = random.randint(1, 8)
    return 2 ** random.randint(1, 4), random.randint(1, T_k), T_k


def _forward_flops(random: Random) -> Arguments:
    n_kv_heads, group = random.choice((1, 2, 4)), random.choice((1, 2, 4))
    config = {
        "vocab_size": random.randint(100, 100_000),
        "d_model": n_kv_heads * group * 16 * random.randint(1, 8),
        "n_layers": random.randint(1, 40),
        "n_heads": n_kv_heads * group,
        "n_kv_heads": n_kv_heads,
        "d_ff": random.randint(64, 4096),
    }
    return config, random.randint(2, 5000)


def _moe_params(random: Random) -> Arguments:
    n_layers, n_kv_heads, n_experts = random.randint(2, 40), random.choice((1, 2, 4)), random.randint(4, 64)
    config = {
        "hidden_size": 64 * random.randint(1, 32),
        "intermediate_size": random.randint(64, 9999),
        "moe_intermediate_size": random.randint(64, 2048),
        "num_hidden_layers": n_layers,
        "first_k_dense_replace": random.randrange(n_layers),
        "n_routed_experts": n_experts,
        "n_shared_experts": random.randint(0, 3),
        "num_experts_per_tok": random.randint(1, n_experts),
        "num_attention_heads": n_kv_heads * random.randint(1, 8),
        "num_key_value_heads": n_kv_heads,
        "head_dim": random.choice((64, 96, 128, 192)),
        "vocab_size": random.randint(100, 100_000),
        "tie_word_embeddings": random.random() < 0.5,
    }
    return (config,)


def _longest_context(random: Random) -> Arguments:
    """Sample layers and a number of tokens, and give them a budget that they fill or nearly fill."""
    heads, head_dim = random.choice((1, 2, 8)), random.choice((64, 128))
    full = {"kind": "full", "kv_heads": heads, "head_dim": head_dim}
    latent = {"kind": "latent", "latent_dim": random.choice((256, 512)), "rope_dim": random.choice((32, 64))}
    sliding = {**full, "kind": "sliding", "window": random.randint(8, 500)}
    state = {"kind": "state", "heads": heads, "head_dim": head_dim}
    layers = [
        random.choice((full, latent)),
        *random.choices((full, latent, sliding, state), k=random.randint(0, 5)),
    ]
    n_sequences = random.randint(1, 5)
    budget = n_sequences * cache_size(layers, random.randint(1, 1000)) + random.choice((0, 1, 100))
    return random.sample(layers, len(layers)), n_sequences, budget


SAMPLERS: dict[str, Sampler] = {
    "count-parameters": lambda r: (
        r.randint(99, 60_000),
        r.randint(8, 999),
        r.randint(1, 48),
        r.randint(8, 999),
    ),
    "causal-mask": _causal_mask,
    "sliding-window": _sliding_window,
    "restored": _restored,
    "config-params": _config_params,
    "expert-params": _expert_params,
    "cache-bytes": _cache_bytes,
    "longer-rope": _longer_rope,
    "alibi": _alibi,
    "forward-flops": _forward_flops,
    "moe-params": _moe_params,
    "longest-context": _longest_context,
}
