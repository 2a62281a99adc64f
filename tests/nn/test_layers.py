"""Norms, activations, feed-forward layers and mixtures against torch and transformers."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.parity import assert_parity
from torch import nn
from transformers import BertConfig, GPT2Config, LlamaConfig, MixtralConfig
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock, load_balancing_loss_func

from llmguide.config.model_config import ModelConfig
from llmguide.nn import feed_forward, mixture_of_experts, norms
from llmguide.nn.block import Block

D, FF, N = 7, 11, 5


def config(**changes):
    return ModelConfig(vocab_size=3, context_length=5, n_layers=1, d_model=D, n_heads=1, d_ff=FF, **changes)


def x(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# --- norms


@pytest.mark.parity
@pytest.mark.parametrize(("shape", "eps"), list(product([(D,), (2, 3, D), (0, D)], [1e-5, 1e-12])))
def test_layer_norm(shape, eps):
    inputs, weight, bias = 3 + 2 * x(*shape), x(D, seed=1), x(D, seed=2)
    ours = norms.layer_norm(inputs, weight, bias, eps)
    theirs = F.layer_norm(inputs, (D,), weight, bias, eps)
    assert_parity(
        ours, theirs, of="llmguide.nn.norms.layer_norm", against="torch.nn.functional.layer_norm", atol=1e-6
    )
    module = norms.LayerNorm(D, eps)
    module.weight.data, module.bias.data = weight, bias
    assert_parity(
        module(inputs), theirs, of="llmguide.nn.norms.LayerNorm", against="torch.nn.LayerNorm", atol=0
    )


@pytest.mark.parity
def test_rms_norm():
    inputs, weight = 2 * x(2, 3, D), x(D, seed=1)
    ours = norms.rms_norm(inputs, weight, 1e-6)
    theirs, llama = nn.RMSNorm(D, eps=1e-6), LlamaRMSNorm(D, eps=1e-6)
    module = norms.RMSNorm(D, 1e-6)
    module.weight.data = theirs.weight.data = llama.weight.data = weight
    assert_parity(
        ours, theirs(inputs), of="llmguide.nn.norms.rms_norm", against="torch.nn.RMSNorm", atol=1e-6
    )
    assert_parity(
        ours, llama(inputs), of="llmguide.nn.norms.rms_norm", against="transformers.LlamaRMSNorm", atol=1e-6
    )
    assert_parity(module(inputs), ours, of="llmguide.nn.norms.RMSNorm", against="torch.nn.RMSNorm", atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_in_half_precision_round_once(dtype):
    """Squares of 300 overflow float16; computed in float32 they do not."""
    inputs, one, zero = 300 * x(4, D).to(dtype), torch.ones(D, dtype=dtype), torch.zeros(D, dtype=dtype)
    wide = inputs.float()
    for out, exact in (
        (norms.layer_norm(inputs, one, zero), norms.layer_norm(wide, one.float(), zero.float())),
        (norms.rms_norm(inputs, one), norms.rms_norm(wide, one.float())),
    ):
        assert out.dtype == dtype
        assert torch.equal(out, exact.to(dtype))


@given(shift=st.floats(-50, 50), scale=st.floats(0.1, 50))
def test_norms_ignore_scale_and_layer_norm_shift(shift, scale):
    inputs, one, zero = x(3, D).double(), torch.ones(D).double(), torch.zeros(D).double()
    close = {"atol": 1e-4, "rtol": 0}
    moved = norms.layer_norm(scale * inputs + shift, one, zero, 1e-12)
    torch.testing.assert_close(moved, norms.layer_norm(inputs, one, zero, 1e-12), **close)
    scaled = norms.rms_norm(scale * inputs, one, 1e-12)
    torch.testing.assert_close(scaled, norms.rms_norm(inputs, one, 1e-12), **close)


def test_make_norm():
    assert isinstance(norms.make_norm(config(norm="rmsnorm", norm_eps=1e-6)), norms.RMSNorm)
    assert norms.make_norm(config(norm_eps=1e-6)).eps == 1e-6


# --- activations


@pytest.mark.parity
@pytest.mark.parametrize(("ours", "kind"), [(feed_forward.gelu, "none"), (feed_forward.gelu_tanh, "tanh")])
def test_gelu(ours, kind):
    inputs = torch.linspace(-9, 9, 1001)
    theirs = nn.GELU(approximate=kind)(inputs)
    assert_parity(
        ours(inputs),
        theirs,
        of=f"llmguide.nn.feed_forward.{ours.__name__}",
        against="torch.nn.GELU",
        atol=1e-6,
    )


def test_the_two_gelus_differ_by_at_most_what_the_docstring_says():
    inputs = torch.linspace(-6, 6, 10_001).double()
    difference = (feed_forward.gelu(inputs) - feed_forward.gelu_tanh(inputs)).abs().max().item()
    assert 4.5e-4 < difference < 5e-4


# --- feed-forward


@pytest.mark.parity
def test_feed_forward_against_gpt2():
    ours = feed_forward.FeedForward(config(activation="gelu_tanh"))
    theirs = GPT2MLP(FF, GPT2Config(n_embd=D, resid_pdrop=0.0))
    for linear, conv in ((ours.up, theirs.c_fc), (ours.down, theirs.c_proj)):
        conv.weight.data, conv.bias.data = linear.weight.data.T, linear.bias.data
    inputs = x(2, 3, D)
    assert_parity(
        ours(inputs),
        theirs(inputs),
        of="llmguide.nn.feed_forward.FeedForward",
        against="transformers.GPT2MLP",
        atol=1e-6,
    )


@pytest.mark.parity
def test_feed_forward_against_llama():
    ours = feed_forward.FeedForward(config(activation="swiglu", bias=False))
    theirs = LlamaMLP(LlamaConfig(hidden_size=D, intermediate_size=FF, num_attention_heads=1, head_dim=2))
    theirs.load_state_dict(
        {f"{name}_proj.weight": getattr(ours, name).weight for name in ("gate", "up", "down")}
    )
    inputs = x(2, 3, D)
    assert_parity(
        ours(inputs),
        theirs(inputs),
        of="llmguide.nn.feed_forward.FeedForward",
        against="transformers.LlamaMLP",
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("activation", "f"),
    [("relu", F.relu), ("gelu", feed_forward.gelu), ("gelu_tanh", feed_forward.gelu_tanh)],
)
def test_feed_forward_is_its_formula(activation, f):
    layer = feed_forward.FeedForward(config(activation=activation))
    torch.testing.assert_close(layer(x(2, D)), layer.down(f(layer.up(x(2, D)))))
    assert layer.gate is None


# --- mixture of experts


def mixture(k=2):
    torch.manual_seed(0)
    ours = mixture_of_experts.MixtureOfExperts(
        config(activation="swiglu", bias=False, n_experts=N, n_experts_per_token=k)
    )
    theirs = MixtralSparseMoeBlock(
        MixtralConfig(hidden_size=D, intermediate_size=FF, num_local_experts=N, num_experts_per_tok=k)
    )
    theirs.gate.weight.data = ours.router.weight.data
    theirs.experts.gate_up_proj.data = torch.stack(
        [torch.cat([e.gate.weight, e.up.weight]) for e in ours.experts]
    )
    theirs.experts.down_proj.data = torch.stack([e.down.weight for e in ours.experts])
    return ours, theirs


@pytest.mark.parity
@pytest.mark.parametrize("k", [1, 2, N])
def test_mixture(k):
    ours, theirs = mixture(k)
    inputs = x(2, 13, D).requires_grad_()
    copy = inputs.detach().clone().requires_grad_()
    out, peer = ours(inputs), theirs(copy)
    name = "transformers.MixtralSparseMoeBlock"
    assert_parity(out, peer, of="llmguide.nn.mixture_of_experts.MixtureOfExperts", against=name, atol=1e-6)
    out.square().mean().backward()
    peer.square().mean().backward()
    assert_parity(
        inputs.grad, copy.grad, of="llmguide.nn.mixture_of_experts.MixtureOfExperts", against=name, atol=1e-6
    )
    assert_parity(
        ours.router.weight.grad,
        theirs.gate.weight.grad,
        of="llmguide.nn.mixture_of_experts.route",
        against=name,
        atol=1e-6,
    )


@given(st.integers(1, N), st.integers(0, 1000))
def test_route_is_the_renormalized_softmax(k, seed):
    logits = x(4, N, seed=seed)
    weights, experts = mixture_of_experts.route(logits, k)
    probabilities = logits.softmax(-1).gather(-1, experts)
    torch.testing.assert_close(weights, probabilities / probabilities.sum(-1, keepdim=True))


def test_a_token_meets_only_its_experts():
    ours, _ = mixture(k=1)
    inputs = x(1, 3, D)
    chosen = ours.router(inputs).argmax(-1).unique().tolist()
    for i, expert in enumerate(ours.experts):
        if i not in chosen:
            nn.init.constant_(expert.down.weight, torch.nan)
    assert ours(inputs).isfinite().all()


@pytest.mark.parity
@pytest.mark.parametrize(("k", "padded"), list(product([1, 2], [False, True])))
def test_load_balancing_loss(k, padded):
    per_layer = [x(2 * 9, N, seed=seed) for seed in range(3)]
    mask = torch.ones(2, 9)
    if padded:
        mask[1, 4:] = 0
    theirs = load_balancing_loss_func(tuple(per_layer), N, k, mask if padded else None)
    ours = mixture_of_experts.load_balancing_loss(
        torch.cat(per_layer), k, mask.bool().flatten().repeat(3) if padded else None
    )
    assert_parity(
        ours,
        theirs,
        of="llmguide.nn.mixture_of_experts.load_balancing_loss",
        against="transformers.models.mixtral.load_balancing_loss_func",
        atol=1e-6,
    )


# --- blocks


@pytest.mark.parity
def test_post_norm_block_against_bert():
    sizes = config(norm_position="post", norm_eps=1e-12)
    block = Block(sizes)
    theirs = BertLayer(
        BertConfig(hidden_size=D, num_attention_heads=1, intermediate_size=FF, hidden_dropout_prob=0.0)
    ).eval()
    for module in (block.attention_norm, block.feed_forward_norm):
        module.weight.data, module.bias.data = x(D, seed=3), x(D, seed=4)
    pairs = {
        "attention.self.query": block.attention.q_proj,
        "attention.self.key": block.attention.k_proj,
        "attention.self.value": block.attention.v_proj,
        "attention.output.dense": block.attention.o_proj,
        "attention.output.LayerNorm": block.attention_norm,
        "intermediate.dense": block.feed_forward.up,
        "output.dense": block.feed_forward.down,
        "output.LayerNorm": block.feed_forward_norm,
    }
    for name, module in pairs.items():
        theirs.get_submodule(name).load_state_dict(module.state_dict())
    out = theirs(x(2, 5, D))
    out = out[0] if isinstance(out, tuple) else out
    assert_parity(
        block(x(2, 5, D)), out, of="llmguide.nn.block.Block", against="transformers.BertLayer", atol=1e-6
    )


@pytest.mark.parity
@pytest.mark.parametrize("position", ["pre", "post"])
def test_block_against_torch(position):
    block = Block(config(norm_position=position, activation="relu"))
    theirs = nn.TransformerEncoderLayer(
        D, 1, FF, dropout=0.0, activation="relu", batch_first=True, norm_first=position == "pre"
    )
    theirs.load_state_dict(torch_encoder_layer(block))
    name = "torch.nn.TransformerEncoderLayer"
    assert_parity(
        block(x(2, 5, D)), theirs(x(2, 5, D)), of="llmguide.nn.block.Block", against=name, atol=1e-6
    )


def torch_encoder_layer(block):
    a = block.attention
    return {
        "self_attn.in_proj_weight": torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]),
        "self_attn.in_proj_bias": torch.cat([a.q_proj.bias, a.k_proj.bias, a.v_proj.bias]),
        "self_attn.out_proj.weight": a.o_proj.weight,
        "self_attn.out_proj.bias": a.o_proj.bias,
        "linear1.weight": block.feed_forward.up.weight,
        "linear1.bias": block.feed_forward.up.bias,
        "linear2.weight": block.feed_forward.down.weight,
        "linear2.bias": block.feed_forward.down.bias,
        "norm1.weight": block.attention_norm.weight,
        "norm1.bias": block.attention_norm.bias,
        "norm2.weight": block.feed_forward_norm.weight,
        "norm2.bias": block.feed_forward_norm.bias,
    }


def test_dropout_only_while_training():
    block, inputs = Block(config(dropout=0.5)), x(1, 4, D)
    assert torch.equal(block.eval()(inputs), block(inputs))
    torch.manual_seed(0)
    assert not torch.equal(block.train()(inputs), block(inputs))


@pytest.mark.parametrize("name", ["silu", "swiglu", "Gelu"])
def test_an_unknown_activation_is_refused(name):
    with pytest.raises(ValueError, match=f"activation='{name}' must be relu, gelu or gelu_tanh"):
        feed_forward.activate(torch.ones(2), name)
