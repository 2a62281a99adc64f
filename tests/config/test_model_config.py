import dataclasses

import jaxtyping
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from torch import nn

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS
from llmguide.config.rope_scaling import LinearScaling, LongRopeScaling

SMALL = {"vocab_size": 11, "context_length": 5, "n_layers": 2, "d_model": 12, "n_heads": 6}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# By hand


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
        ("gpt3-175b", 174_604_259_328),
        ("bert-base", 109_482_240),
        ("bert-large", 335_141_888),
        ("llama-2-7b", 6_738_415_616),
        ("llama-2-13b", 13_015_864_320),
        ("llama-2-70b", 68_976_648_192),
        ("llama-3-8b", 8_030_261_248),
        ("llama-3-70b", 70_553_706_496),
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.1-405b", 405_853_388_800),
        ("mistral-7b", 7_241_732_096),
        ("mixtral-8x7b", 46_702_792_704),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen3-0.6b", 596_049_920),
        ("bloom-7b1", 7_069_016_064),
    ],
)
def test_presets_have_the_published_number_of_parameters(name, published):
    assert PRESETS[name].n_params() == published


@pytest.mark.parametrize(
    ("name", "printed", "tolerance"),
    [("transformer-base", 65e6, 0.03), ("transformer-big", 213e6, 0.01)],  # Vaswani et al. 2017, table 3
)
def test_the_2017_models_come_close_to_the_rounded_counts_of_their_table(name, printed, tolerance):
    assert PRESETS[name].n_params() == pytest.approx(printed, rel=tolerance)


def test_gpt_2_parts_by_hand():
    d = 768
    assert PRESETS["gpt2"].n_params_by_part() == {
        "token_embedding": 50_257 * d,
        "position_embedding": 1024 * d,
        "token_type_embedding": 0,
        "embedding_norm": 0,
        "attention": 12 * (4 * d * d + 4 * d),
        "cross_attention": 0,
        "feed_forward": 12 * (8 * d * d + 5 * d),
        "router": 0,
        "norms": 12 * 4 * d,
        "final_norm": 2 * d,
        "pooler": 0,
        "head": 0,
    }


def test_mixtral_sends_a_token_past_six_of_eight_experts():
    mixtral = PRESETS["mixtral-8x7b"]
    assert mixtral.n_active_params() == 12_879_925_248
    assert mixtral.n_params() - mixtral.n_active_params() == 32 * 6 * 3 * 4096 * 14_336


def test_a_dense_model_uses_all_its_parameters():
    assert PRESETS["llama-2-7b"].n_active_params() == PRESETS["llama-2-7b"].n_params()


def test_decoupled_head_width():
    """Gemma 7B has 16 heads of 256 in a model of width 3,072 (arXiv:2403.08295, tables 1 and 2)."""
    gemma = ModelConfig(
        vocab_size=256_128,
        context_length=8192,
        n_layers=28,
        d_model=3072,
        n_heads=16,
        head_dim=256,
        d_ff=24_576,
        positions="rope",
        norm="rmsnorm",
        activation="swiglu",
        bias=False,
    )
    parts = gemma.n_params_by_part()
    assert parts["token_embedding"] == 786_825_216
    assert gemma.n_params() - parts["token_embedding"] == 7_751_248_896


# Parity: the same model built by transformers or torch, without memory for its weights


def gpt2(c: ModelConfig) -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=c.vocab_size,
        n_positions=c.context_length,
        n_embd=c.d_model,
        n_layer=c.n_layers,
        n_head=c.n_heads,
    )
    return transformers.GPT2LMHeadModel(config)


def llama_fields(c: ModelConfig) -> dict[str, object]:
    return {
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.context_length,
        "hidden_size": c.d_model,
        "intermediate_size": c.d_ff,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "tie_word_embeddings": c.tie_embeddings,
    }


def llama(c: ModelConfig) -> nn.Module:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama_fields(c)))


def mistral(c: ModelConfig) -> nn.Module:
    return transformers.MistralForCausalLM(transformers.MistralConfig(**llama_fields(c)))


def mixtral(c: ModelConfig) -> nn.Module:
    experts = {"num_local_experts": c.n_experts, "num_experts_per_tok": c.n_experts_per_token}
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**llama_fields(c), **experts))


def qwen2(c: ModelConfig) -> nn.Module:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**llama_fields(c)))


def qwen3(c: ModelConfig) -> nn.Module:
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**llama_fields(c), head_dim=c.head_dim))


def bloom(c: ModelConfig) -> nn.Module:
    config = transformers.BloomConfig(
        vocab_size=c.vocab_size, hidden_size=c.d_model, n_layer=c.n_layers, n_head=c.n_heads
    )
    return transformers.BloomForCausalLM(config)


def bert(c: ModelConfig) -> nn.Module:
    config = transformers.BertConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.d_model,
        num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads,
        intermediate_size=c.d_ff,
        max_position_embeddings=c.context_length,
        type_vocab_size=c.n_token_types,
    )
    return transformers.BertModel(config)


PEERS = {
    "gpt2": gpt2,
    "gpt2-medium": gpt2,
    "gpt2-large": gpt2,
    "gpt2-xl": gpt2,
    "llama-2-7b": llama,
    "llama-2-13b": llama,
    "llama-2-70b": llama,
    "llama-3-8b": llama,
    "llama-3-70b": llama,
    "mistral-7b": mistral,
    "mixtral-8x7b": mixtral,
    "qwen2.5-0.5b": qwen2,
    "qwen3-0.6b": qwen3,
    "bloom-7b1": bloom,
    "bert-base": bert,
    "bert-large": bert,
}


@pytest.mark.parity
@pytest.mark.parametrize("name", PEERS)
def test_presets_count_what_transformers_builds(name):
    with torch.device("meta"):
        peer = PEERS[name](PRESETS[name])
    assert_parity(
        [PRESETS[name].n_params()],
        [count(peer)],
        of="llmguide.config.model_config.ModelConfig.n_params",
        against=f"transformers.{type(peer).__name__}",
        atol=0,
    )


@pytest.mark.parity
@pytest.mark.parametrize("name", ["transformer-base", "transformer-big"])
def test_presets_count_what_torch_builds(name):
    c = PRESETS[name]
    with torch.device("meta"):
        peer = nn.Transformer(c.d_model, c.n_heads, c.n_layers, c.n_layers, c.d_ff, batch_first=True)
        peer.encoder.norm = peer.decoder.norm = None  # torch adds a norm after each stack, the paper does not
        embedding = nn.Embedding(c.vocab_size, c.d_model)
    assert_parity(
        [c.n_params()],
        [count(peer) + count(embedding)],
        of="llmguide.config.model_config.ModelConfig.n_params",
        against="torch.nn.Transformer",
        atol=0,
    )


@pytest.mark.parity
@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-2-70b", "mixtral-8x7b", "qwen2.5-0.5b", "gpt2-xl"])
def test_parts_count_what_transformers_builds(name):
    c = PRESETS[name]
    with torch.device("meta"):
        peer = {"llama-3.1-8b": llama, **PEERS}[name](c)
    sizes = {parameter: p.numel() for parameter, p in peer.named_parameters()}

    def total(*words: str) -> int:
        return sum(n for parameter, n in sizes.items() if any(word in parameter for word in words))

    parts = c.n_params_by_part()
    router = total("mlp.gate.weight", "block_sparse_moe.gate.weight") if c.n_experts else 0
    assert_parity(
        [parts["attention"], parts["feed_forward"], parts["router"], parts["token_embedding"], parts["head"]],
        [
            total(".self_attn.", ".attn."),
            total(".mlp.", ".block_sparse_moe.") - router,
            router,
            total("embed_tokens", "wte"),
            total("lm_head"),
        ],
        of="llmguide.config.model_config.ModelConfig.n_params_by_part",
        against=f"transformers.{type(peer).__name__}",
        atol=0,
    )


# Properties


@st.composite
def llama_shapes(draw: st.DrawFn) -> ModelConfig:
    n_kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    n_experts = draw(st.sampled_from([0, 3]))
    return ModelConfig(
        vocab_size=17,
        context_length=8,
        n_layers=draw(st.integers(1, 3)),
        d_model=n_kv_heads * group * draw(st.sampled_from([2, 4, 6])),
        n_heads=n_kv_heads * group,
        n_kv_heads=n_kv_heads,
        d_ff=draw(st.integers(1, 40)),
        positions="rope",
        norm="rmsnorm",
        activation="swiglu",
        bias=False,
        tie_embeddings=draw(st.booleans()),
        n_experts=n_experts,
        n_experts_per_token=min(2, n_experts),
    )


@given(llama_shapes())
@settings(max_examples=15, deadline=None)
def test_any_llama_shape_counts_what_transformers_builds(config):
    with torch.device("meta"):
        assert config.n_params() == count((mixtral if config.n_experts else llama)(config))


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_every_preset_adds_up_layer_by_layer(config):
    def with_layers(n: int) -> int:
        return dataclasses.replace(config, n_layers=n).n_params()

    assert with_layers(3) - with_layers(2) == with_layers(2) - with_layers(1) > 0
    assert config.n_params() == with_layers(1) + (config.n_layers - 1) * (with_layers(2) - with_layers(1))
    assert sum(config.n_params_by_part().values()) == config.n_params()
    assert 0 < config.n_active_params() <= config.n_params()


def test_untying_adds_a_head_and_the_matrix_of_a_second_stack():
    for architecture, added in [("decoder", 1), ("encoder", 0), ("encoder-decoder", 2)]:
        tied = ModelConfig(**SMALL, architecture=architecture)
        untied = dataclasses.replace(tied, tie_embeddings=False)
        assert untied.n_params() - tied.n_params() == added * 11 * 12


def test_derived_fields():
    config = ModelConfig(**SMALL, bias=False)
    assert (config.n_kv_heads, config.head_dim, config.d_ff, config.qkv_bias) == (6, 2, 48, False)
    given_fields = ModelConfig(**SMALL, n_kv_heads=2, head_dim=5, d_ff=7, bias=False, qkv_bias=True)
    assert (given_fields.n_kv_heads, given_fields.head_dim, given_fields.d_ff) == (2, 5, 7)
    assert given_fields.qkv_bias


def test_replace_derives_sizes_again():
    sizes = SMALL | {"d_model": 24}
    assert ModelConfig(**SMALL).replace(d_model=24) == ModelConfig(**sizes)
    assert ModelConfig(**SMALL).replace(d_model=24, head_dim=2) == ModelConfig(**sizes, head_dim=2)
    assert ModelConfig(**SMALL).replace(n_heads=3).n_kv_heads == 3
    assert not ModelConfig(**SMALL).replace(bias=False).qkv_bias
    assert ModelConfig(**SMALL).replace(bias=False, qkv_bias=True).qkv_bias


def test_replace_keeps_sizes_that_were_given():
    given_sizes = {"n_kv_heads": 3, "head_dim": 5, "d_ff": 7}
    wider = ModelConfig(**SMALL, **given_sizes).replace(d_model=24)
    assert wider == ModelConfig(**(SMALL | {"d_model": 24}), **given_sizes)
    with pytest.raises(TypeError, match="width"):
        wider.replace(width=3)


def test_a_config_is_a_value():
    assert ModelConfig(**SMALL) == ModelConfig(**SMALL, d_ff=48)
    assert len({ModelConfig(**SMALL), ModelConfig(**SMALL)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig(**SMALL).n_layers = 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"n_layers": -1}, "n_layers=-1"),
        ({"d_model": 12.0}, r"d_model=12\.0"),
        ({"n_heads": 5}, "d_model=12 is no multiple of n_heads=5"),
        ({"n_kv_heads": 4}, "n_heads=6 is no multiple of n_kv_heads=4"),
        ({"n_kv_heads": 0}, "n_kv_heads=0"),
        ({"head_dim": 0}, "head_dim=0"),
        ({"d_ff": 0}, "d_ff=0"),
        ({"architecture": "decoder-only"}, "architecture='decoder-only' must be one of decoder, encoder"),
        ({"positions": "rotary"}, "positions='rotary'"),
        ({"norm": "batchnorm"}, "norm='batchnorm'"),
        ({"norm_position": "middle"}, "norm_position='middle'"),
        ({"activation": "silu"}, "activation='silu'"),
        ({"positions": "rope", "head_dim": 3}, "head_dim=3 must be even"),
        ({"positions": "sinusoidal", "d_model": 9, "n_heads": 3}, "d_model=9 must be even"),
        ({"rope_scaling": LinearScaling(2.0)}, "positions='learned'"),
        ({"positions": "rope", "rope_scaling": LongRopeScaling([1.0] * 9, [1.0], 4, 1.0)}, "LongRoPE has"),
        ({"pooler": True}, "pooler=True"),
        ({"n_token_types": -1}, "n_token_types=-1"),
        ({"sliding_window": 0}, "sliding_window=0"),
        ({"n_full_layers": 1}, "n_full_layers=1 must be between 0 and n_layers="),
        ({"n_full_layers": 99, "sliding_window": 2}, "n_full_layers=99 must be between 0 and n_layers="),
        ({"n_experts": 4}, "n_experts_per_token=0 must be between 1 and n_experts=4"),
        ({"n_experts": 4, "n_experts_per_token": 5}, "n_experts_per_token=5"),
        ({"n_experts_per_token": 1}, "n_experts_per_token=1"),
        ({"n_experts": -1}, "n_experts=-1"),
        ({"dropout": 1.0}, r"dropout=1\.0"),
        ({"dropout": float("nan")}, "dropout=nan"),
        ({"norm_eps": 0.0}, r"norm_eps=0\.0"),
        ({"rope_theta": 0.0}, r"rope_theta=0\.0"),
    ],
)
def test_bad_sizes_are_named(fields, message, monkeypatch):
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # users run without the tests' type checker
    with pytest.raises(ValueError, match=message):
        ModelConfig(**(SMALL | fields))
