from math import inf

import pytest
import torch
from tests.parity import assert_parity
from torch import nn
from transformers import GPT2Config, LlamaConfig
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

from llmguide.config.model_config import ModelConfig
from llmguide.nn.masks import causal_mask, padding_mask, sliding_window_mask
from llmguide.nn.multi_head_attention import MultiHeadAttention
from llmguide.nn.positions import alibi_bias
from llmguide.nn.rope import rope_tables

LAYER = "llmguide.nn.multi_head_attention.MultiHeadAttention"


def config(**changes):
    sizes = {"vocab_size": 17, "context_length": 19, "n_layers": 1, "d_model": 24, "n_heads": 6}
    return ModelConfig(**(sizes | {"positions": "none"} | changes))


@pytest.mark.parity
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_layer_is_torchs_multi_head_attention(cross, bias):
    torch.manual_seed(0)
    ours, peer = (
        MultiHeadAttention(config(bias=bias)),
        nn.MultiheadAttention(24, 6, bias=bias, batch_first=True),
    )
    with torch.no_grad():
        for i, projection in enumerate((ours.q_proj, ours.k_proj, ours.v_proj)):
            peer.in_proj_weight[24 * i : 24 * (i + 1)] = projection.weight
            if bias:
                peer.in_proj_bias[24 * i : 24 * (i + 1)] = projection.bias
        peer.out_proj.load_state_dict(ours.o_proj.state_dict())
    x = torch.randn(2, 5, 24)
    context = torch.randn(2, 7, 24) if cross else x
    mask = causal_mask(5, context.shape[1])
    out, weights = ours(x, context=context if cross else None, mask=mask, need_weights=True)
    fast, none = ours(x, context=context if cross else None, mask=mask)
    assert none is None
    # nn.MultiheadAttention's masks mean "hidden"
    peer_out, peer_weights = peer(x, context, context, attn_mask=~mask, average_attn_weights=False)

    of, against = LAYER, "torch.nn.MultiheadAttention"
    assert_parity(out, peer_out, of=of, against=against, atol=1e-6)
    assert_parity(fast, peer_out, of=of, against=against, atol=1e-6)
    assert_parity(weights, peer_weights, of=of, against=against, atol=1e-6)

    fast.square().sum().backward()
    peer_out.square().sum().backward()
    ours_gradient = torch.cat([p.weight.grad for p in (ours.q_proj, ours.k_proj, ours.v_proj)])
    assert_parity(ours_gradient, peer.in_proj_weight.grad, of=of, against=against, atol=2e-5)
    assert_parity(ours.o_proj.weight.grad, peer.out_proj.weight.grad, of=of, against=against, atol=2e-5)


@pytest.mark.parity
@pytest.mark.parametrize("K", [6, 3, 1])
def test_layer_is_llama_attention(K):
    torch.manual_seed(0)
    hf = LlamaConfig(hidden_size=24, num_attention_heads=6, num_key_value_heads=K, head_dim=8)
    hf._attn_implementation = "eager"
    peer = LlamaAttention(hf, layer_idx=0)
    ours = MultiHeadAttention(config(n_kv_heads=K, head_dim=8, bias=False, positions="rope"))
    ours.load_state_dict(peer.state_dict())
    x = torch.randn(2, 7, 24)
    additive = torch.zeros(7, 7).masked_fill(~causal_mask(7), -inf)
    tables = LlamaRotaryEmbedding(hf)(x, torch.arange(7)[None])
    expected, weights = peer(x, position_embeddings=tables, attention_mask=additive)
    rope = rope_tables(7, 8)
    of, against = LAYER, "transformers.models.llama.LlamaAttention"
    out, our_weights = ours(x, is_causal=True, rope=rope, need_weights=True)
    assert_parity(out, expected, of=of, against=against, atol=1e-6)
    assert_parity(our_weights, weights, of=of, against=against, atol=1e-6)
    assert_parity(ours(x, is_causal=True, rope=rope)[0], expected, of=of, against=against, atol=1e-6)


@pytest.mark.parity
def test_layer_is_gpt2_attention():
    torch.manual_seed(0)
    hf = GPT2Config(n_embd=24, n_head=6, n_positions=19, attn_pdrop=0.0, resid_pdrop=0.0)
    hf._attn_implementation = "eager"
    peer = GPT2Attention(hf, layer_idx=0)
    nn.init.normal_(peer.c_attn.bias)
    ours = MultiHeadAttention(config())
    with torch.no_grad():
        for i, projection in enumerate((ours.q_proj, ours.k_proj, ours.v_proj)):
            projection.weight.copy_(peer.c_attn.weight[:, 24 * i : 24 * (i + 1)].T)
            projection.bias.copy_(peer.c_attn.bias[24 * i : 24 * (i + 1)])
        ours.o_proj.weight.copy_(peer.c_proj.weight.T)
        ours.o_proj.bias.copy_(peer.c_proj.bias)
    x = torch.randn(2, 7, 24)
    additive = torch.zeros(1, 1, 7, 7).masked_fill(~causal_mask(7), -inf)
    assert_parity(
        ours(x, is_causal=True)[0],
        peer(x, attention_mask=additive)[0],
        of=LAYER,
        against="transformers.models.gpt2.GPT2Attention",
        atol=1e-6,
    )


def test_layer_without_positions_is_permutation_equivariant():
    torch.manual_seed(0)
    layer, x, order = MultiHeadAttention(config(n_kv_heads=2)), torch.randn(2, 7, 24), torch.randperm(7)
    torch.testing.assert_close(layer(x[:, order])[0], layer(x)[0][:, order])


@pytest.mark.parametrize("positions", ["rope", "alibi", "none"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_layer_is_causal(positions, need_weights):
    torch.manual_seed(0)
    layer = MultiHeadAttention(config(positions=positions, n_kv_heads=2))
    given_positions = {"rope": rope_tables(7, 4)} if positions == "rope" else {"bias": alibi_bias(6, 7)}
    x = torch.randn(2, 7, 24)
    changed = x.clone()
    changed[:, 4:] = torch.randn(2, 3, 24)
    before, _ = layer(x, is_causal=True, need_weights=need_weights, **given_positions)
    after, _ = layer(changed, is_causal=True, need_weights=need_weights, **given_positions)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_a_sliding_window_is_applied_to_self_attention_only():
    torch.manual_seed(0)
    windowed, plain = MultiHeadAttention(config(sliding_window=3)), MultiHeadAttention(config())
    plain.load_state_dict(windowed.state_dict())
    x, context = torch.randn(2, 7, 24), torch.randn(2, 5, 24)
    keep = padding_mask(torch.tensor([7, 4]))
    torch.testing.assert_close(windowed(x)[0], plain(x, mask=sliding_window_mask(7, window=3))[0])
    torch.testing.assert_close(
        windowed(x, mask=keep, need_weights=True),
        plain(x, mask=keep & sliding_window_mask(7, window=3), need_weights=True),
    )
    torch.testing.assert_close(windowed(x[:, :3])[0], plain(x[:, :3], is_causal=True)[0])
    torch.testing.assert_close(windowed(x, context=context)[0], plain(x, context=context)[0])


def test_dropout_only_while_training():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(config(dropout=0.5)), torch.randn(2, 7, 24)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_rope_for_each_row_of_a_batch():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(config(positions="rope")), torch.randn(2, 7, 24)
    starts = torch.tensor([[0], [100]])
    out, _ = layer(x, rope=rope_tables(starts + torch.arange(7), 4))
    torch.testing.assert_close(out, layer(x, rope=rope_tables(7, 4))[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 7, 24), (2, 1, 24), (1, 0, 24)])
def test_layer_edges(shape):
    out, weights = MultiHeadAttention(config(n_kv_heads=3))(
        torch.randn(shape), is_causal=True, need_weights=True
    )
    assert out.shape == shape
    assert weights.shape == (shape[0], 6, shape[1], shape[1])


def test_forgotten_positions_are_named():
    x = torch.randn(2, 7, 24)
    with pytest.raises(ValueError, match="rope_tables"):
        MultiHeadAttention(config(positions="rope"))(x)
    with pytest.raises(ValueError, match="alibi_bias"):
        MultiHeadAttention(config(positions="alibi"))(x)
