from math import cos, inf, sin

import pytest
import torch
from tests.parity import assert_parity
from transformers import BloomConfig, DistilBertConfig, GPT2Config
from transformers.models.bloom import modeling_bloom
from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings
from transformers.models.gpt2.modeling_gpt2 import GPT2Model

from llmguide.nn.attention import attention
from llmguide.nn.masks import causal_mask
from llmguide.nn.positions import LearnedPositions, alibi_bias, alibi_slopes, sinusoidal_positions

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
