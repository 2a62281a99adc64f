import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.config.presets import PRESETS
from llmguide.costs.linear_layers import linear_shapes, lora_params, nf4_bits, quantized_bytes

# LLaMA-1 (arXiv:2302.13971, table 2) differs from LLaMA-2 in its two middle sizes
LLAMA_33B = dataclasses.replace(
    PRESETS["llama-2-7b"], n_layers=60, d_model=6656, n_heads=52, n_kv_heads=52, d_ff=17_920
)
LLAMA_65B = dataclasses.replace(PRESETS["llama-2-70b"], n_kv_heads=64, d_ff=22_016)
CONFIGS = PRESETS | {"llama-33b": LLAMA_33B, "llama-65b": LLAMA_65B}


# LoRA and QLoRA


@pytest.mark.parametrize(
    ("name", "all_linear_rank_16"),
    [
        ("llama-2-7b", 39_976_960),
        ("llama-2-13b", 62_586_880),
        ("llama-33b", 121_896_960),
        ("llama-65b", 199_884_800),
        ("llama-2-70b", 207_093_760),
    ],
)
def test_lora_by_hand(name, all_linear_rank_16):
    assert lora_params(CONFIGS[name], 16) == all_linear_rank_16


def test_lora_on_queries_and_values_of_7b():
    assert lora_params(PRESETS["llama-2-7b"], 8, ("q_proj", "v_proj")) == 4_194_304


@given(
    st.integers(1, 256),
    st.sets(st.sampled_from(["q_proj", "k_proj", "v_proj", "o_proj", "gate", "up", "down"])),
)
def test_lora_adds_up_over_ranks_and_targets(rank, targets):
    config = PRESETS["mixtral-8x7b"]
    assert lora_params(config, rank, targets) == rank * sum(lora_params(config, 1, [t]) for t in targets)
    assert lora_params(config, 1) == lora_params(config, 1, list(linear_shapes(config)))


@pytest.mark.parametrize(
    "name", ["gpt2", "llama-2-7b", "llama-2-70b", "mixtral-8x7b", "qwen2.5-0.5b", "bert-base", "bloom-7b1"]
)
def test_linear_shapes_are_the_weights_that_the_config_counts(name):
    config = dataclasses.replace(PRESETS[name], bias=False, qkv_bias=False)
    parts, shapes = config.n_params_by_part(), linear_shapes(config)
    areas = {layer: n * m for layer, (n, m) in shapes.items()}
    attention = sum(area for layer, area in areas.items() if layer.endswith("_proj"))
    assert config.n_layers * attention == parts["attention"]
    feed_forward = sum(area for layer, area in areas.items() if not layer.endswith("_proj"))
    assert config.n_layers * max(1, config.n_experts) * feed_forward == parts["feed_forward"]


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("llama-2-7b", 3.87),
        ("llama-2-13b", 7.20),
        ("llama-33b", 17.41),
        ("llama-65b", 34.46),
        ("llama-2-70b", 36.36),
    ],
)
def test_qlora_base_by_hand(name, gigabytes):
    assert quantized_bytes(CONFIGS[name], nf4_bits()) / 1e9 == pytest.approx(gigabytes, abs=0.005)


def test_double_quantization_saves_0_373_bits():
    """QLoRA, section 3: from 32/64 = 0.5 bits to 0.127."""
    assert nf4_bits() == pytest.approx(4.127, abs=0.0005)
    assert 4 + 32 / 64 - nf4_bits() == pytest.approx(0.373, abs=0.0005)


@pytest.mark.parametrize("name", ["gpt2", "llama-2-7b", "mixtral-8x7b", "bert-base"])
def test_sixteen_bits_everywhere_is_two_bytes_a_parameter(name):
    assert quantized_bytes(PRESETS[name], 16.0) == 2 * PRESETS[name].n_params()


# Edges

GPT2, SEQ2SEQ = PRESETS["gpt2"], PRESETS["transformer-base"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lora_params(GPT2, 0), "rank=0"),
        (lambda: lora_params(GPT2, 1, ["gate", "c_attn"]), r"\['c_attn', 'gate'\] do not exist; .* q_proj, "),
        (lambda: lora_params(SEQ2SEQ, 1), "architecture='encoder-decoder'"),
        (lambda: nf4_bits(0), "block_size=0"),
        (lambda: quantized_bytes(GPT2, 0.0), r"bits=0\.0"),
    ],
)
def test_bad_input_is_named(call, message, monkeypatch):
    monkeypatch.setattr(
        "jaxtyping.config.jaxtyping_disable", True
    )  # users run without the tests' type checker
    with pytest.raises(ValueError, match=message):
        call()
