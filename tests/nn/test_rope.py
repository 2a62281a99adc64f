from math import cos, pi, sin

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gptj import modeling_gptj
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from llmguide.config.rope_scaling import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    YarnScaling,
)
from llmguide.nn.rope import apply_rope, half_to_interleaved, ntk_theta, rope_frequencies, rope_tables

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
        of="llmguide.nn.rope.rope_tables",
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
        "llmguide.nn.rope.rope_frequencies",
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
    of, against = "llmguide.nn.rope.ntk_theta", "transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS"
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
            of="llmguide.nn.rope.apply_rope",
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
    of, against = "llmguide.nn.rope.apply_rope", "transformers.models.gptj.apply_rotary_pos_emb"
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
