import dataclasses

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tests.parity import assert_parity
from torch import nn

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS
from llmguide.costs.memory import (
    activation_bytes,
    attention_score_bytes,
    data_parallel_traffic,
    flash_attention_bytes,
    kv_cache_bytes,
    kv_cache_bytes_per_token,
    latent_cache_bytes_per_token,
    memory_estimate,
    model_state_bytes,
)

KIB, GIB = 2**10, 2**30

# LLaMA-1 (arXiv:2302.13971, table 2) differs from LLaMA-2 in its two middle sizes
LLAMA_33B = dataclasses.replace(
    PRESETS["llama-2-7b"], n_layers=60, d_model=6656, n_heads=52, n_kv_heads=52, d_ff=17_920
)
LLAMA_65B = dataclasses.replace(PRESETS["llama-2-70b"], n_kv_heads=64, d_ff=22_016)
CONFIGS = PRESETS | {"llama-33b": LLAMA_33B, "llama-65b": LLAMA_65B}


# Model state and its traffic


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_zero_paper_figure_1(stage, gigabytes):
    """7.5B parameters on 64 devices."""
    state = model_state_bytes(7.5e9, zero_stage=stage, n_devices=64)
    assert sum(state.values()) / 1e9 == pytest.approx(gigabytes, abs=0.05)


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("llama-2-7b", 107.8),
        ("llama-2-13b", 208.3),
        ("llama-33b", 520.5),
        ("llama-65b", 1044.6),
        ("llama-2-70b", 1103.6),
        ("llama-3-8b", 128.5),
    ],
)
def test_full_fine_tuning_by_hand(name, gigabytes):
    """16 bytes a parameter."""
    state = model_state_bytes(CONFIGS[name].n_params())
    assert sum(state.values()) / 1e9 == pytest.approx(gigabytes, abs=0.05)


@given(st.integers(1, 10**12), st.integers(1, 4096))
def test_sharding_everything_leaves_one_copy_in_all(n_params, n_devices):
    totals = [
        sum(model_state_bytes(float(n_params), zero_stage=stage, n_devices=n_devices).values())
        for stage in range(4)
    ]
    assert totals[0] == 16 * n_params
    assert totals == sorted(totals, reverse=True)
    assert totals[3] * n_devices == pytest.approx(16 * n_params)


def test_traffic_by_hand():
    """Two devices: each sends half its gradients for the sum and half the sums back, Psi values in all."""
    assert data_parallel_traffic(10.0, n_devices=2) == 20
    assert data_parallel_traffic(10.0, n_devices=1) == 0
    assert data_parallel_traffic(10.0, n_devices=2, bytes_per_value=4) == 40


@pytest.mark.parametrize(("stage", "volume"), [(0, 2), (1, 2), (2, 2), (3, 3)])
def test_traffic_tends_to_the_zero_papers_volumes(stage, volume):
    """Section 7: 2 Psi for plain data parallelism and stages 1 and 2, 3 Psi for stage 3."""
    assert data_parallel_traffic(1e9, zero_stage=stage, n_devices=10**6) / 2e9 == pytest.approx(
        volume, rel=1e-5
    )


@pytest.mark.parity
def test_adam_state_equals_what_torch_allocates():
    """float32 weights, gradients and two moments: 16 bytes too, split otherwise."""
    model = nn.Linear(13, 7, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(13)).sum().backward()
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if t.dim()]
    tensors = [*model.parameters(), *(p.grad for p in model.parameters()), *moments]
    assert_parity(
        [sum(model_state_bytes(13.0 * 7).values())],
        [sum(t.nbytes for t in tensors)],
        of="llmguide.costs.memory.model_state_bytes",
        against="torch.optim.AdamW",
        atol=0,
    )


# Activations and scores


def test_activations_of_gpt_3_by_hand():
    """Korthikanti et al. 2022: 5 a s / h is 80 for GPT-3, so a layer keeps 114 bytes a value."""
    gpt3 = PRESETS["gpt3-175b"]
    values = 96 * 2048 * 12_288
    assert activation_bytes(gpt3, 2048, 1) == 114 * values
    assert activation_bytes(gpt3, 2048, 3, recompute="selective") == 3 * 34 * values
    assert activation_bytes(gpt3, 2048, 3, recompute="full") == 3 * 2 * values


def test_selective_recomputation_saves_what_the_paper_says():
    """Section 5: 70% of the activations of GPT-3, 65% of MT-NLG (105 layers, width 20,480, 128 heads)."""
    mt_nlg = ModelConfig(vocab_size=51_200, context_length=2048, n_layers=105, d_model=20_480, n_heads=128)
    for config, saved in [(PRESETS["gpt3-175b"], 0.70), (mt_nlg, 0.65)]:
        kept = activation_bytes(config, 2048, 1, recompute="selective") / activation_bytes(config, 2048, 1)
        assert 1 - kept == pytest.approx(saved, abs=0.005)


def bytes_saved_by_a_gpt_layer(d: int, n_heads: int, n: int, batch: int) -> int:
    """What autograd keeps in a bfloat16 layer written out, weights not counted."""
    sizes = {"qkv": (d, 3 * d), "out": (d, d), "up": (d, 4 * d), "down": (4 * d, d)}
    linear = nn.ModuleDict({name: nn.Linear(*size) for name, size in sizes.items()}).bfloat16()
    norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)]).bfloat16()
    weights = {p.untyped_storage().data_ptr() for p in [*linear.parameters(), *norms.parameters()]}
    saved: dict[int, torch.UntypedStorage] = {}  # holds the storages, so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    def dropout(tensor: torch.Tensor) -> torch.Tensor:
        return torch.native_dropout(tensor, 0.1, True)[0]  # keeps a mask of bytes, as on a GPU

    x = torch.randn(batch, n, d, dtype=torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        heads = linear["qkv"](norms[0](x)).reshape(batch, n, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = (part.contiguous() for part in heads)
        mixed = dropout((q @ k.mT * (d // n_heads) ** -0.5).softmax(-1)) @ v
        x = x + dropout(linear["out"](mixed.transpose(1, 2).reshape(batch, n, d)))
        dropout(linear["down"](nn.functional.gelu(linear["up"](norms[1](x))))).sum()
    return sum(storage.nbytes() for address, storage in saved.items() if address not in weights)


@pytest.mark.parity
def test_activations_equal_what_autograd_saves():
    """But for mean and deviation of each token in two LayerNorms, which the formula leaves out."""
    d, n_heads, n, batch = 64, 4, 32, 3
    config = ModelConfig(vocab_size=5, context_length=n, n_layers=1, d_model=d, n_heads=n_heads)
    assert_parity(
        [activation_bytes(config, n, batch)],
        [bytes_saved_by_a_gpt_layer(d, n_heads, n, batch)],
        of="llmguide.costs.memory.activation_bytes",
        against="torch.autograd.graph.saved_tensors_hooks",
        atol=2 * 2 * batch * n * 2,
    )


def test_a_hundred_thousand_tokens():
    """10^10 scores of 2 bytes: 20 GB a head, 640 GB for 32; FlashAttention keeps 400 kB a head."""
    assert attention_score_bytes(100_000, 1) == 20 * 10**9
    assert attention_score_bytes(100_000, 32) == 640 * 10**9
    assert flash_attention_bytes(100_000, 32) == 32 * 400_000


@given(st.integers(1, 10**6), st.integers(1, 128), st.integers(1, 64))
def test_scores_are_quadratic_and_flash_attention_is_linear(n, n_heads, batch):
    assert attention_score_bytes(2 * n, n_heads, batch) == 4 * attention_score_bytes(n, n_heads, batch)
    assert flash_attention_bytes(2 * n, n_heads, batch) == 2 * flash_attention_bytes(n, n_heads, batch)


# KV cache


@pytest.mark.parametrize(
    ("name", "kibibytes", "gibibytes_at_4096"),
    [
        ("gpt2", 36, None),
        ("llama-2-7b", 512, 2.0),
        ("llama-2-13b", 800, 3.125),
        ("llama-33b", 1560, 6.09375),
        ("llama-65b", 2560, 10.0),
        ("llama-2-70b", 320, 1.25),
        ("llama-3-8b", 128, 0.5),
    ],
)
def test_kv_cache_by_hand(name, kibibytes, gibibytes_at_4096):
    assert kv_cache_bytes_per_token(CONFIGS[name]) == kibibytes * KIB
    if gibibytes_at_4096:
        assert kv_cache_bytes(CONFIGS[name], 4096) == gibibytes_at_4096 * GIB


def test_grouped_queries_save_seven_eighths_of_the_70b_cache():
    multi_head = dataclasses.replace(PRESETS["llama-2-70b"], n_kv_heads=64)
    assert kv_cache_bytes(multi_head, 4096) == 10 * GIB


def test_deepseek_v3_latent_cache_by_hand():
    assert latent_cache_bytes_per_token(61, latent_dim=512, rope_dim=64) == 61 * 576 * 2 == 70_272


def test_sliding_window_bounds_the_cache():
    mistral = PRESETS["mistral-7b"]  # 2 x 32 layers x 8 heads x 128 x 2 bytes = 128 KiB a token
    assert kv_cache_bytes(mistral, 4096) == 512 * 2**20
    assert kv_cache_bytes(mistral, 100_000) == kv_cache_bytes(mistral, 4096)
    assert kv_cache_bytes(mistral, 100) == 100 * 128 * KIB
    mixed = mistral.replace(n_full_layers=8)  # 4 KiB a token in each layer
    assert kv_cache_bytes(mixed, 100_000) == (8 * 100_000 + 24 * 4096) * 4 * KIB


@pytest.mark.parity
@pytest.mark.parametrize("n_kv_heads", [1, 2, 6])
def test_kv_cache_equals_what_transformers_keeps(n_kv_heads):
    batch, n = 3, 5
    c = dataclasses.replace(
        PRESETS["llama-2-7b"],
        vocab_size=11,
        n_layers=2,
        d_model=24,
        n_heads=6,
        n_kv_heads=n_kv_heads,
        head_dim=4,
        d_ff=10,
    )
    peer = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=11,
            num_hidden_layers=2,
            hidden_size=24,
            num_attention_heads=6,
            num_key_value_heads=n_kv_heads,
            intermediate_size=10,
        )
    ).bfloat16()
    with torch.no_grad():
        cache = peer(torch.zeros(batch, n, dtype=torch.long), use_cache=True).past_key_values
    assert_parity(
        [kv_cache_bytes(c, n, batch)],
        [sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)],
        of="llmguide.costs.memory.kv_cache_bytes",
        against="transformers.DynamicCache",
        atol=0,
    )


# Edges

GPT2 = PRESETS["gpt2"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: model_state_bytes(0.0), r"n_params=0\.0"),
        (lambda: model_state_bytes(float("nan")), "n_params=nan"),
        (lambda: model_state_bytes(5.0, zero_stage=4), "zero_stage=4"),
        (lambda: model_state_bytes(5.0, n_devices=0), "n_devices=0"),
        (lambda: data_parallel_traffic(5.0, zero_stage=-1, n_devices=2), "zero_stage=-1"),
        (lambda: data_parallel_traffic(5.0, n_devices=0), "n_devices=0"),
        (lambda: activation_bytes(GPT2, 0, 1), "n_tokens=0"),
        (lambda: activation_bytes(GPT2, 1, 0), "batch=0"),
        (lambda: activation_bytes(GPT2, 1, 1, recompute="some"), "recompute='some'"),
        (lambda: attention_score_bytes(0, 1), "n_tokens=0"),
        (lambda: flash_attention_bytes(1, 0), "n_heads=0"),
        (lambda: kv_cache_bytes(GPT2, 0), "n_tokens=0"),
        (lambda: kv_cache_bytes(GPT2, 1, 0), "batch=0"),
        (lambda: kv_cache_bytes_per_token(GPT2, bytes_per_value=0), "bytes_per_value=0"),
        (lambda: kv_cache_bytes_per_token(PRESETS["bert-base"]), "architecture='encoder'"),
        (lambda: latent_cache_bytes_per_token(0, latent_dim=1, rope_dim=1), "n_layers=0"),
    ],
)
def test_bad_input_is_named(call, message, monkeypatch):
    monkeypatch.setattr(
        "jaxtyping.config.jaxtyping_disable", True
    )  # users run without the tests' type checker
    with pytest.raises(ValueError, match=message):
        call()


# Training as a whole


def test_memory_estimate_of_gpt2_by_hand():
    """16 bytes a parameter, and 34 bytes for each of B n D values in each layer."""
    parts = memory_estimate(PRESETS["gpt2"], 1024, 8)
    assert sum(parts.values()) == 16 * 124_439_808 + 34 * 12 * 8 * 1024 * 768
    assert parts["optimizer"] == 12 * 124_439_808


def test_memory_estimate_shards_the_state_and_not_the_activations():
    whole = memory_estimate(PRESETS["gpt2"], 1024)
    sharded = memory_estimate(PRESETS["gpt2"], 1024, zero_stage=3, n_devices=4)
    for part in ("weights", "gradients", "optimizer"):
        assert sharded[part] == whole[part] / 4
    assert sharded["activations"] == whole["activations"]
