from math import cos, inf, pi, sin

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from transformers import BloomConfig, DistilBertConfig, GPT2Config, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom import modeling_bloom
from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings
from transformers.models.gpt2.modeling_gpt2 import GPT2Model
from transformers.models.gptj import modeling_gptj
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from llmguide.config import DynamicScaling, LinearScaling, Llama3Scaling, LongRopeScaling, YarnScaling
from llmguide.nn.attention import attention
from llmguide.nn.masks import causal_mask
from llmguide.nn.positions import (
    LearnedPositions,
    alibi_bias,
    alibi_slopes,
    apply_rope,
    half_to_interleaved,
    ntk_theta,
    rope_frequencies,
    rope_tables,
    sinusoidal_positions,
)

SCALINGS = {
    "default": (None, {}),
    "linear": (LinearScaling(3.0), {"factor": 3.0}),
    "yarn": (YarnScaling(7.0, 53), {"factor": 7.0, "original_max_position_embeddings": 53}),
    "yarn, other options": (
        YarnScaling(2.5, 4096, beta_fast=17.0, beta_slow=2.0, attention_factor=1.3),
        {
            "factor": 2.5,
            "original_max_position_embeddings": 4096,
            "beta_fast": 17.0,
            "beta_slow": 2.0,
            "attention_factor": 1.3,
        },
    ),
    "llama3": (
        Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192),
        {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    ),
    "dynamic": (DynamicScaling(2.5, 65536), {"factor": 2.5}),
    "longrope": (
        LongRopeScaling([1 + i / 20 for i in range(11)], [1 + i / 2 for i in range(11)], 8192, 1.19),
        {
            "short_factor": [1 + i / 20 for i in range(11)],
            "long_factor": [1 + i / 2 for i in range(11)],
            "original_max_position_embeddings": 8192,
            "attention_factor": 1.19,
        },
    ),
}


def llama_config(name, *, theta, head_dim=22):
    _, parameters = SCALINGS[name]
    rope = {"rope_type": name.split(",")[0], "rope_theta": theta, **parameters}
    return LlamaConfig(
        hidden_size=4 * head_dim, num_attention_heads=4, head_dim=head_dim, max_position_embeddings=65536,
        rope_parameters=rope,
    )  # fmt: skip


# ---- RoPE ----------------------------------------------------------------------------------------


def test_rotation_by_hand():
    # E = 4, theta = 100: pair 0 turns 1 radian per position, pair 1 turns 0.1
    cosines, sines = rope_tables(torch.tensor([2]), 4, theta=100.0)
    torch.testing.assert_close(cosines, torch.tensor([[cos(2.0), cos(0.2)]]))
    torch.testing.assert_close(sines, torch.tensor([[sin(2.0), sin(0.2)]]))
    x = torch.tensor([[1.0, 0.0, 0.0, 1.0]])  # pairs (1, 0) and (0, 1) in the half layout
    expected = torch.tensor([[cos(2.0), -sin(0.2), sin(2.0), cos(0.2)]])
    torch.testing.assert_close(apply_rope(x, cosines, sines), expected)


@pytest.mark.parity
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("last", [2000, 54321, 98765])  # below and above the contexts
def test_tables_are_those_of_transformers_bit_for_bit(name, theta, last):
    config = llama_config(name, theta=theta)
    positions = torch.tensor([[0, 1, 2, 3, 5, 8, 1000, last]])
    peer_cos, peer_sin = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)
    cosines, sines = rope_tables(positions, 22, theta, SCALINGS[name][0])
    ours = torch.stack([cosines, sines]).tile(2)  # transformers stores each table twice, side by side
    assert_parity(
        ours,
        torch.stack([peer_cos, peer_sin]),
        of="llmguide.nn.positions.rope_tables",
        against="transformers.models.llama.LlamaRotaryEmbedding",
        atol=0,
    )


@pytest.mark.parity
def test_yarn_with_a_step_instead_of_a_ramp():
    config = llama_config("yarn", theta=10000.0)
    config.rope_parameters |= {"beta_fast": 4.0, "beta_slow": 4.0, "truncate": True}
    peer, factor = ROPE_INIT_FUNCTIONS["yarn"](config, "cpu")
    ours = rope_frequencies(22, 10000.0, YarnScaling(7.0, 53, beta_fast=4.0, beta_slow=4.0))
    of, against = (
        "llmguide.nn.positions.rope_frequencies",
        "transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS",
    )
    assert_parity(ours, peer, of=of, against=against, atol=0)
    assert factor == pytest.approx(1 + 0.1 * torch.tensor(7.0).log().item())


@pytest.mark.parity
@pytest.mark.parametrize("length", [64, 100, 640])
def test_ntk_theta_is_the_dynamic_kind_of_transformers(length):
    config = LlamaConfig(
        hidden_size=88, num_attention_heads=4, max_position_embeddings=64,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    )  # fmt: skip
    peer, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, "cpu", seq_len=length)
    ours = rope_frequencies(22, ntk_theta(10000.0, 22, 2.0 * length / 64 - 1.0))
    of, against = "llmguide.nn.positions.ntk_theta", "transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS"
    assert_parity(ours, peer, of=of, against=against, atol=1e-7)


def test_ntk_slows_the_slowest_pair_by_the_factor_and_the_fastest_not_at_all():
    before, after = rope_frequencies(22), rope_frequencies(22, ntk_theta(10000.0, 22, 5.0))
    assert before[0] == after[0]
    assert (before[-1] / after[-1]).item() == pytest.approx(5.0, rel=1e-5)


def test_llama3_keeps_short_wavelengths_and_stretches_long_ones():
    plain = rope_frequencies(128, 500000.0)
    turns = 8192 * plain / (2 * pi)
    scaled = rope_frequencies(128, 500000.0, SCALINGS["llama3"][0])
    torch.testing.assert_close(scaled[turns > 4], plain[turns > 4], rtol=0, atol=0)
    torch.testing.assert_close(scaled[turns < 1], plain[turns < 1] / 8)
    between = (turns >= 1) & (turns <= 4)
    assert ((scaled < plain) & (scaled > plain / 8))[between].all()


@pytest.mark.parity
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_layout_is_that_of_llama(dtype):
    torch.manual_seed(0)
    q, k = torch.randn(2, 5, 7, 22).to(dtype), torch.randn(2, 3, 7, 22).to(dtype)
    tables = LlamaRotaryEmbedding(llama_config("default", theta=10000.0))(q, torch.arange(7)[None])
    ours = [apply_rope(x, *(table.to(dtype) for table in rope_tables(7, 22))) for x in (q, k)]
    for x, peer in zip(ours, apply_rotary_pos_emb(q, k, *tables), strict=True):
        assert x.dtype == dtype
        assert_parity(
            x,
            peer,
            of="llmguide.nn.positions.apply_rope",
            against="transformers.models.llama.apply_rotary_pos_emb",
            atol=0,
        )


@pytest.mark.parity
def test_interleaved_layout_is_that_of_gptj():
    torch.manual_seed(0)
    x = torch.randn(2, 7, 3, 22)  # GPT-J rotates before it moves the head axis forward: (B, T, H, E)
    sines, cosines = modeling_gptj.create_sinusoidal_positions(7, 22)[None].chunk(2, dim=-1)
    peer = modeling_gptj.apply_rotary_pos_emb(x, sines, cosines).transpose(1, 2)
    ours = apply_rope(x.transpose(1, 2), *rope_tables(7, 22), layout="interleaved")
    of, against = "llmguide.nn.positions.apply_rope", "transformers.models.gptj.apply_rotary_pos_emb"
    assert_parity(ours, peer, of=of, against=against, atol=1e-6)


def test_interleaved_layout_is_a_complex_product():
    """The paper's own formulation: pair (a, b) is the number a + bi, times e^(i m theta_i)."""
    x = torch.randn(2, 3, 7, 22)
    angles = torch.arange(7)[:, None] * 10000.0 ** (-torch.arange(0, 22, 2) / 22)
    turned = torch.view_as_complex(x.unflatten(-1, (11, 2))) * torch.polar(torch.ones(7, 11), angles)
    expected = torch.view_as_real(turned).flatten(-2)
    torch.testing.assert_close(apply_rope(x, *rope_tables(7, 22), layout="interleaved"), expected)


def test_the_permutation_connects_the_layouts():
    x, tables = torch.randn(2, 3, 7, 22), rope_tables(7, 22)
    to_interleaved = half_to_interleaved(22)
    to_half = to_interleaved.argsort()
    interleaved = apply_rope(x[..., to_interleaved], *tables, layout="interleaved")
    torch.testing.assert_close(interleaved[..., to_half], apply_rope(x, *tables))
    assert torch.equal(to_interleaved[to_half], torch.arange(22))


@settings(max_examples=30, deadline=None)
@given(m=st.integers(0, 500), n=st.integers(0, 500), shift=st.integers(0, 500))
def test_scores_depend_on_the_distance_alone(m, n, shift):
    q, k = torch.randn(1, 22), torch.randn(1, 22)
    for layout in ("half", "interleaved"):
        scores = [
            apply_rope(q, *rope_tables(torch.tensor([i]), 22), layout=layout)
            @ apply_rope(k, *rope_tables(torch.tensor([j]), 22), layout=layout).T
            for i, j in ((m, n), (m + shift, n + shift))
        ]
        torch.testing.assert_close(*scores, atol=5e-3, rtol=1e-3)


def test_rotation_keeps_lengths_and_position_zero():
    x = torch.randn(2, 3, 7, 22)
    turned = apply_rope(x, *rope_tables(7, 22))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[..., 0, :], x[..., 0, :])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tables_stay_float32_and_the_result_is_rounded_once(dtype):
    x, tables = torch.randn(2, 3, 7, 22).to(dtype), rope_tables(7, 22)
    assert tables[0].dtype == torch.float32
    out = apply_rope(x, *tables)
    assert out.dtype == dtype
    exact = apply_rope(x.double(), *(table.double() for table in tables))
    slack = 0.51 * torch.finfo(dtype).eps if dtype != torch.float64 else 0
    assert ((out.double() - exact).abs() <= slack * exact.abs() + 1e-6).all()


def test_tables_of_a_slice_are_the_slice_of_the_tables():
    whole = rope_tables(11, 22)
    for part, full in zip(rope_tables(torch.arange(4, 9), 22), whole, strict=True):
        assert torch.equal(part, full[4:9])
    assert rope_tables(0, 22)[0].shape == (0, 11)


def test_bad_rope_input_is_named():
    with pytest.raises(ValueError, match="head_dim=7"):
        rope_tables(3, 7)
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=r"\(3, 8\).*\(3, 4\).*\(3, 5\)"):
            apply_rope(torch.zeros(3, 8), *rope_tables(3, 10))
        with pytest.raises(ValueError, match="neox"):
            apply_rope(torch.zeros(3, 8), *rope_tables(3, 8), layout="neox")
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


# ---- ALiBi ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_heads", [0, -3])
def test_slopes_need_a_head(n_heads):
    with pytest.raises(ValueError, match=f"n_heads={n_heads}"):
        alibi_slopes(n_heads)


def test_slopes_of_the_paper():
    # "for 8 heads ... 1/2, 1/4, ..., 1/256"; 16 heads: 1/2^0.5, 1/2^1, ..., 1/2^8
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    torch.testing.assert_close(alibi_slopes(16), torch.tensor([2.0 ** (-i / 2) for i in range(1, 17)]))


@pytest.mark.parity
@pytest.mark.parametrize("n_heads", [1, 2, 3, 5, 7, 8, 12, 16, 25, 71, 112])
def test_alibi_is_blooms_up_to_a_shift_of_each_row(n_heads):
    peer = modeling_bloom.build_alibi_tensor(torch.ones(1, 7), n_heads, torch.float32)  # (H, 1, T_k)
    of, against = "llmguide.nn.positions.alibi_slopes", "transformers.models.bloom.build_alibi_tensor"
    assert_parity(alibi_slopes(n_heads), peer[:, 0, 1], of=of, against=against, atol=1e-7)
    # BLOOM's bias of key j is slope * j; relative to key i = the query itself it is slope * (j - i)
    relative = (peer - peer.transpose(1, 2)).masked_fill(~causal_mask(7), -inf)
    ours = alibi_bias(n_heads, 7).masked_fill(~causal_mask(7), -inf)
    assert_parity(ours, relative, of="llmguide.nn.positions.alibi_bias", against=against, atol=1e-6)


@pytest.mark.parity
def test_attention_with_alibi_is_blooms():
    torch.manual_seed(0)
    config = BloomConfig(hidden_size=24, n_head=6, hidden_dropout=0.0, attention_dropout=0.0)
    peer = modeling_bloom.BloomAttention(config, layer_idx=0)
    x = torch.randn(2, 7, 24)
    fused = peer.query_key_value(x).view(2, 7, 6, 3, 4)
    q, k, v = (fused[..., i, :].transpose(1, 2) for i in range(3))
    out, _ = attention(q, k, v, causal_mask(7), bias=alibi_bias(6, 7))
    alibi = modeling_bloom.build_alibi_tensor(torch.ones(2, 7), 6, torch.float32)
    hidden = torch.zeros(2, 1, 7, 7).masked_fill(~causal_mask(7), torch.finfo(torch.float32).min)
    expected = peer(x, residual=torch.zeros_like(x), alibi=alibi, attention_mask=hidden)[0]
    ours = peer.dense(out.transpose(1, 2).flatten(2))
    of, against = "llmguide.nn.positions.alibi_bias", "transformers.models.bloom.BloomAttention"
    assert_parity(ours, expected, of=of, against=against, atol=1e-6)


def test_alibi_of_the_last_queries_is_the_last_rows():
    assert torch.equal(alibi_bias(3, 2, 7), alibi_bias(3, 7)[:, 5:])


# ---- vectors added to the embeddings -------------------------------------------------------------


def test_sinusoids_by_hand():
    # D = 6: frequencies 1, 10000^(-1/3), 10000^(-2/3)
    angles = [3.0 * 10000 ** (-i / 3) for i in range(3)]
    expected = [value for angle in angles for value in (sin(angle), cos(angle))]
    torch.testing.assert_close(sinusoidal_positions(torch.tensor([3]), 6), torch.tensor([expected]))


@pytest.mark.parity
def test_sinusoids_are_those_of_distilbert():
    peer = torch.empty(101, 22)
    create_sinusoidal_embeddings(n_pos=101, dim=22, out=peer)
    of, against = "llmguide.nn.positions.sinusoidal_positions", "transformers.models.distilbert"
    assert DistilBertConfig().sinusoidal_pos_embds is False  # the function exists for those who set it
    assert_parity(sinusoidal_positions(101, 22), peer, of=of, against=against, atol=1e-7)


def test_a_sinusoid_of_a_shifted_position_is_a_rotation():
    """Section 3.5: PE(p + k) is a linear function of PE(p), the same for every p."""
    table = sinusoidal_positions(50, 6).double()
    shift = torch.linalg.lstsq(table[:40], table[7:47]).solution
    torch.testing.assert_close(table[:43] @ shift, table[7:], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="d_model=7"):
        sinusoidal_positions(3, 7)


@pytest.mark.parity
def test_learned_positions_are_gpt2s():
    torch.manual_seed(0)
    peer = GPT2Model(GPT2Config(n_layer=0, n_head=1, n_embd=6, n_positions=11, vocab_size=13)).wpe
    ours = LearnedPositions(11, 6)
    ours.load_state_dict(peer.state_dict())
    of, against = "llmguide.nn.positions.LearnedPositions", "transformers.models.gpt2.GPT2Model"
    assert_parity(ours(7), peer(torch.arange(7)), of=of, against=against, atol=0)
    rows = torch.tensor([[3, 10], [0, 3]])
    assert_parity(ours(rows), peer(rows), of=of, against=against, atol=0)


def test_positions_beyond_the_table_are_named():
    table = LearnedPositions(11, 6)
    assert table(11).shape == (11, 6)
    assert table(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0, 6)
    for positions in (12, torch.tensor([3, 11])):
        with pytest.raises(ValueError, match="position 11 is beyond the 11"):
            table(positions)
    with pytest.raises(ValueError, match="position -1 is below 0"):
        table(torch.tensor([-1, 3]))
