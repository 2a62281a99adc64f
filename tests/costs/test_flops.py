import dataclasses
import math

import pytest
import torch
import transformers
from tests.parity import assert_parity
from torch.utils.flop_counter import FlopCounterMode

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS
from llmguide.costs.flops import (
    attention_crossover,
    attention_fraction,
    forward_flops_per_token,
    mfu,
    training_flops,
)

A100, H100 = 312e12, 989e12


# Training compute, by hand and against published runs


@pytest.mark.parametrize(
    ("n_params", "n_tokens", "flops"),
    [
        (174_604_259_328, 300e9, 3.143e23),  # GPT-3; the paper's table D.1 says 3.14e23
        (6_738_415_616, 2e12, 8.09e22),
        (13_015_864_320, 2e12, 1.56e23),
        (33_743_970_304, 2e12, 4.05e23),
        (68_976_648_192, 2e12, 8.28e23),
        (405_853_388_800, 15.6e12, 3.80e25),  # the Llama 3 paper: 3.8e25
        (37e9, 14.8e12, 3.29e24),  # DeepSeek-V3, active parameters
    ],
)
def test_training_flops_of_published_runs(n_params, n_tokens, flops):
    assert training_flops(n_params, n_tokens) == pytest.approx(flops, rel=5e-3)  # three digits


@pytest.mark.parametrize(
    ("n_params", "n_tokens", "hours", "peak", "utilization"),
    [  # Llama 2 model card, Llama 3.1 model card, DeepSeek-V3 report
        (6_738_415_616, 2e12, 184_320, A100, 0.391),
        (13_015_864_320, 2e12, 368_640, A100, 0.377),
        (33_743_970_304, 2e12, 1_038_336, A100, 0.347),
        (68_976_648_192, 2e12, 1_720_320, A100, 0.428),
        (405_853_388_800, 15.6e12, 30.84e6, H100, 0.346),
        (37e9, 14.8e12, 2.664e6, H100, 0.346),
    ],
)
def test_mfu_of_published_runs(n_params, n_tokens, hours, peak, utilization):
    assert mfu(training_flops(n_params, n_tokens), hours, peak_flops=peak) == pytest.approx(
        utilization, abs=0.0006
    )


@pytest.mark.parametrize(
    ("name", "hours", "utilization"), [("7b", 184_320, 0.453), ("70b", 1_720_320, 0.462)]
)
def test_mfu_that_counts_attention(name, hours, utilization):
    config = PRESETS[f"llama-2-{name}"]
    parts = forward_flops_per_token(config, 4096)
    flops = training_flops(config.n_params(), 2e12) + 3 * (parts["scores"] + parts["values"]) * 2e12
    assert mfu(flops, hours, peak_flops=A100) == pytest.approx(utilization, abs=0.0006)


# Forward FLOPs by part


def test_gpt_2_forward_by_hand():
    d, n_layers, n = 768, 12, 1024
    assert forward_flops_per_token(PRESETS["gpt2"], n) == {
        "projections": n_layers * 8 * d * d,
        "scores": n_layers * 2 * n * d,
        "values": n_layers * 2 * n * d,
        "feed_forward": n_layers * 16 * d * d,
        "router": 0,
        "head": 2 * 50_257 * d,
    }


def test_attention_of_llama_2_7b_at_4096_tokens():
    """4nD = 16,384 D against 2 (4 D + 3 F) = 98,816 per D."""
    config = PRESETS["llama-2-7b"]
    assert attention_fraction(config, 4096) == pytest.approx(16_384 / (16_384 + 98_816))
    assert attention_fraction(config, 4096) == pytest.approx(0.142, abs=0.0005)
    assert attention_fraction(config, 4096, causal=True) == pytest.approx(0.077, abs=0.0005)


@pytest.mark.parametrize(
    ("name", "crossover"),
    [
        ("gpt2", 6 * 768),
        ("gpt3-175b", 6 * 12_288),
        ("llama-2-7b", 2 * 4096 + 1.5 * 11_008),  # 24,704; the rule of 6 D gives 24,576
        ("llama-2-70b", 8192 + 1024 + 1.5 * 28_672),  # 52,224; 6 D = 49,152
    ],
)
def test_crossover_by_hand(name, crossover):
    config = PRESETS[name]
    assert attention_crossover(config) == crossover
    assert attention_crossover(config, causal=True) == 2 * crossover
    assert attention_fraction(config, int(crossover)) == pytest.approx(0.5)
    assert attention_fraction(config, 2 * int(crossover), causal=True) == pytest.approx(0.5)


def test_mixtral_computes_two_experts_and_a_router():
    parts = forward_flops_per_token(PRESETS["mixtral-8x7b"], 1)
    assert parts["feed_forward"] == 32 * 2 * 2 * 3 * 4096 * 14_336
    assert parts["router"] == 32 * 2 * 8 * 4096


@pytest.mark.parametrize(("n", "window"), [(7, 3), (7, 7), (7, 20), (12, 1)])
def test_causal_scores_of_a_window_by_enumeration(n, window):
    """Position i sees min(i + 1, w) tokens; the half-square count is below the sum by w / 2 in all."""
    config = ModelConfig(
        vocab_size=5, context_length=50, n_layers=1, d_model=2, n_heads=1, sliding_window=window
    )
    counted = n * forward_flops_per_token(config, n, causal=True)["scores"] / (2 * 2)
    seen = sum(min(i + 1, window) for i in range(n))
    assert counted == pytest.approx(seen - min(window, n) / 2)
    mixed = config.replace(n_layers=3, n_full_layers=2)
    full = config.replace(n_layers=2, sliding_window=None)
    scores = [forward_flops_per_token(one, n, causal=True)["scores"] for one in (mixed, config, full)]
    assert scores[0] == pytest.approx(scores[1] + scores[2])


def tiny(config_class: type, model_class: type, **fields: object) -> torch.nn.Module:
    return model_class(config_class(**fields, attn_implementation="eager")).eval()


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gpt2", "llama", "gqa", "bert"])
def test_forward_flops_equal_those_that_torch_counts(name):
    n = 7
    sizes = {"vocab_size": 11, "n_layers": 2, "d_model": 24, "n_heads": 6, "context_length": 13}
    llama = {"d_ff": 10, "positions": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False}
    hugging_face = {
        "vocab_size": 11,
        "num_hidden_layers": 2,
        "hidden_size": 24,
        "num_attention_heads": 6,
        "max_position_embeddings": 13,
    }
    if name == "gpt2":
        ours = ModelConfig(**sizes)
        peer = tiny(
            transformers.GPT2Config,
            transformers.GPT2LMHeadModel,
            vocab_size=11,
            n_layer=2,
            n_embd=24,
            n_head=6,
        )
    elif name == "bert":
        ours = ModelConfig(**sizes, architecture="encoder")
        peer = tiny(transformers.BertConfig, transformers.BertModel, **hugging_face, intermediate_size=96)
        peer.pooler = None
    else:
        n_kv_heads = 2 if name == "gqa" else 6
        ours = ModelConfig(**sizes, **llama, n_kv_heads=n_kv_heads)
        peer = tiny(
            transformers.LlamaConfig,
            transformers.LlamaForCausalLM,
            **hugging_face,
            intermediate_size=10,
            num_key_value_heads=n_kv_heads,
        )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        peer(torch.zeros(1, n, dtype=torch.long))
    assert_parity(
        [n * sum(forward_flops_per_token(ours, n).values())],
        [counter.get_total_flops()],
        of="llmguide.costs.flops.forward_flops_per_token",
        against="torch.utils.flop_counter.FlopCounterMode",
        atol=0,
    )


@pytest.mark.parametrize("name", ["gpt2", "llama-2-7b", "llama-3-8b", "bert-base", "bloom-7b1"])
def test_weights_cost_two_flops_each(name):
    """Which is where 2N forward and 6ND come from; embeddings, biases and norms are no matrix products."""
    config = dataclasses.replace(PRESETS[name], bias=False, qkv_bias=False)
    parts, flops = config.n_params_by_part(), forward_flops_per_token(config, 1)
    assert flops["projections"] == 2 * parts["attention"]
    assert flops["feed_forward"] == 2 * parts["feed_forward"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: training_flops(-1.0, 1.0), r"n_params=-1\.0"),
        (lambda: training_flops(1.0, math.nan), "n_tokens=nan"),
        (lambda: forward_flops_per_token(PRESETS["gpt2"], 0), "n_tokens=0"),
        (lambda: forward_flops_per_token(PRESETS["transformer-base"], 5), "encoder-decoder"),
        (lambda: attention_crossover(PRESETS["mistral-7b"]), "sliding_window=4096"),
        (lambda: mfu(1.0, 0.0, peak_flops=1.0), r"hours=0\.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
