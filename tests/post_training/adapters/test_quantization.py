"""Codes equal the published tables and bitsandbytes; errors stay within half a step; bytes are as counted."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from tests.models.test_models import tokens
from tests.parity import assert_parity
from torch import nn

from llmguide.config.model_config import ModelConfig
from llmguide.costs.linear_layers import linear_shapes, nf4_bits
from llmguide.models import build
from llmguide.post_training.adapters.quantization import (
    BLOCK,
    DYNAMIC8,
    NF4,
    absmax_int8,
    dequantize,
    dequantize_nf4,
    pack,
    quantize,
    quantize_nf4,
    unpack,
)
from llmguide.post_training.adapters.quantized_linear import QuantizedLinear, dequantize_model, quantize_model
from llmguide.training.losses import next_token_loss

PUBLISHED = [  # QLoRA, arXiv:2305.14314, appendix E
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
]
CONFIG = ModelConfig(vocab_size=53, context_length=16, n_layers=2, d_model=64, n_heads=4)
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "up", "down"]


def weights(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.05


def test_nf4_equals_the_published_table():
    assert (NF4 - torch.tensor(PUBLISHED)).abs().max() < 2e-7
    assert NF4[7] == 0


@pytest.mark.parity
def test_nf4_from_the_quantiles_of_scipy():
    last = 0.9677083  # bitsandbytes, create_normal_map
    above = norm.ppf([0.5 + (last - 0.5) * i / 8 for i in range(1, 9)])
    below = norm.ppf([0.5 + (last - 0.5) * i / 7 for i in range(1, 8)])
    codes = [*(-below[::-1]), 0.0, *above] / above[-1]
    assert_parity(
        NF4,
        codes,
        of="llmguide.post_training.adapters.quantization.normal_float_codes",
        against="scipy.stats.norm.ppf",
        atol=2e-7,
    )


def test_dynamic_codes_by_hand():
    assert DYNAMIC8.unique().numel() == 256
    positive = DYNAMIC8[DYNAMIC8 > 0]
    # one fraction at 10^-6, two at 10^-5: the midpoints of 0.1 to 1, and of its halves
    torch.testing.assert_close(positive[:3], torch.tensor([0.55e-6, 0.325e-5, 0.775e-5]))
    torch.testing.assert_close(-DYNAMIC8[:127].flip(0), positive[:127])


def test_int8_by_hand():
    codes, scales = absmax_int8(torch.tensor([[254.0, -127.0, 1.0], [0.0, 0.0, 0.0]]))
    assert scales.tolist() == [[2.0], [0.0]]
    assert codes.tolist() == [[127, -64, 0], [0, 0, 0]]  # -63.5 and 0.5 round to even


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_int8_error_is_half_a_step(rows, width, size, seed):
    x = weights(rows, width, seed=seed) * size
    codes, scale = absmax_int8(x)
    assert codes.min() >= -127
    assert ((codes * scale - x).abs() <= scale * 0.5001).all()


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 300),
    st.sampled_from(["NF4", "DYNAMIC8"]),
    st.sampled_from([2, 64, 256]),
    st.integers(0, 99),
)
def test_each_number_gets_the_nearest_code(n, name, block, seed):
    table, x = {"NF4": NF4, "DYNAMIC8": DYNAMIC8}[name], weights(n, seed=seed)
    indices, scales = quantize(x, table, block)
    assert scales.tolist() == [part.abs().max().item() for part in x.split(block)]
    spread = scales.repeat_interleave(block)[:n]
    error = (dequantize(indices, scales, table, block) - x).abs() / spread
    best = (x[:, None] / spread[:, None] - table).abs().amin(dim=1)
    torch.testing.assert_close(error, best, atol=1e-6, rtol=1e-5)
    assert error.max() <= table.diff().max() / 2 + 1e-6


@given(st.lists(st.integers(0, 15), max_size=40))
def test_pack_and_unpack(codes):
    packed = pack(torch.tensor(codes, dtype=torch.uint8))
    assert len(packed) == (len(codes) + 1) // 2
    assert unpack(packed, len(codes)).tolist() == codes


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0,), (7, 64), (2, 3, 33)])
def test_nf4_of_any_shape(shape):
    x = weights(*shape)
    back = dequantize_nf4(quantize_nf4(x))
    assert back.shape == x.shape
    assert (back - x).abs().sum() <= 0.2 * x.abs().sum() + 1e-7


def test_zeros_stay_zeros():
    assert dequantize_nf4(quantize_nf4(torch.zeros(4, 64))).equal(torch.zeros(4, 64))


def test_codes_say_more_about_normal_weights_than_evenly_spaced_ones():
    """What NF4 is for: of its 4 bits, the codes of normal weights carry more, and so the error is smaller."""
    x = weights(BLOCK * 4096)
    bits, errors = [], []
    for table in (NF4, torch.linspace(-1, 1, 16)):
        indices, scales = quantize(x, table, BLOCK)
        share = torch.bincount(indices.int(), minlength=16) / len(x)
        bits.append(-(share * share.log2()).sum())
        errors.append((dequantize(indices, scales, table, BLOCK) - x).square().mean())
    assert bits[0] - bits[1] > 0.2
    assert errors[0] < 0.9 * errors[1]


def test_double_quantization_costs_little():
    x = weights(256, 256)
    indices, scales = quantize(x.flatten(), NF4, BLOCK)
    single = dequantize(indices, scales, NF4, BLOCK).view_as(x)
    double = dequantize_nf4(quantize_nf4(x))
    assert (double - x).square().mean() < 1.01 * (single - x).square().mean()


def test_bytes_are_those_of_memory():
    layer = QuantizedLinear(nn.Linear(512, 256))
    assert layer.n_bytes() == 512 * 256 * nf4_bits() / 8 + 4  # and the mean of the scales


def test_model_bytes_are_those_of_memory():
    config = ModelConfig(vocab_size=53, context_length=16, n_layers=2, d_model=128, n_heads=4)
    model = quantize_model(build(config), LINEAR)
    layers = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
    n = config.n_layers * sum(a * b for a, b in linear_shapes(config).values())
    assert sum(layer.n_bytes() for layer in layers) == n * nf4_bits() / 8 + 4 * len(layers)


def test_layer_equals_its_dequantised_weight_and_keeps_nothing_for_backward():
    linear = nn.Linear(96, 40)
    layer, x = QuantizedLinear(linear), weights(2, 3, 96).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        out = layer(x)
    assert torch.Size([40, 96]) not in kept
    expected = F.linear(x, layer.weight, linear.bias)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-6)
    ours, theirs = (torch.autograd.grad(y.square().sum(), x)[0] for y in (out, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_bfloat16():
    layer, x = QuantizedLinear(nn.Linear(64, 64)), weights(3, 64).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert x.grad.dtype == torch.float32
    assert layer(x.bfloat16()).dtype == torch.bfloat16


def test_model_runs_saves_and_comes_back():
    torch.manual_seed(0)
    base, ids = build(CONFIG), tokens(2, 9)
    plain = next_token_loss(base, ids)
    model = quantize_model(base, LINEAR)
    loss = next_token_loss(model, ids)
    assert abs(loss - plain) < 0.05
    other = quantize_model(build(CONFIG), LINEAR)
    other.load_state_dict(model.state_dict())
    assert next_token_loss(other, ids).equal(loss)
    torch.testing.assert_close(next_token_loss(dequantize_model(model), ids), loss)
    assert model.state_dict().keys() == build(CONFIG).state_dict().keys()


def test_unknown_target():
    with pytest.raises(ValueError, match=r"'query' matches nothing.*: down, k_proj"):
        quantize_model(build(CONFIG), ["query"])


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(128, 128), (3, 64)])
def test_against_bitsandbytes(shape):
    bnb = pytest.importorskip("bitsandbytes.functional", reason="50 MB for one test, so it is no dependency")
    x = weights(*shape)
    packed, state = bnb.quantize_4bit(x, blocksize=64, quant_type="nf4", compress_statistics=True)
    ours = quantize_nf4(x)
    for mine, theirs in (
        (ours.packed, packed.flatten()),
        (ours.scale_codes, state.absmax),
        (ours.scale_scales, state.state2.absmax),
        (ours.scale_mean, state.offset),
        (DYNAMIC8, bnb.create_dynamic_map()),
    ):
        assert_parity(
            mine,
            theirs,
            of="llmguide.post_training.adapters.quantization.quantize_nf4",
            against="bitsandbytes.functional.quantize_4bit",
            atol=0,
        )
    assert_parity(
        dequantize_nf4(ours),
        bnb.dequantize_4bit(packed, state),
        of="llmguide.post_training.adapters.quantization.dequantize_nf4",
        against="bitsandbytes.functional.dequantize_4bit",
        atol=1e-7,
    )
