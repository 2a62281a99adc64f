from math import inf

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from torch import nn
from transformers import DeepseekV2Config, DeepseekV3Config
from transformers.models.deepseek_v2 import modeling_deepseek_v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3

from llmguide.nn.kv_cache import KVCache
from llmguide.nn.latent_attention import LatentAttention
from llmguide.nn.masks import causal_mask, padding_mask
from llmguide.nn.rope import rope_tables

WIDTHS = {"kv_rank": 10, "nope_dim": 6, "rope_dim": 4, "v_dim": 7}


def layer(**changes):
    torch.manual_seed(0)
    module = LatentAttention(24, 3, **({"q_rank": 11} | WIDTHS | changes))
    for parameter in module.parameters():  # also the norms, whose ones would hide a missing weight
        nn.init.normal_(parameter, std=0.5)
    return module


def deepseek(config, model, q_rank):
    hf = config(
        hidden_size=24,
        num_attention_heads=3,
        num_key_value_heads=3,
        kv_lora_rank=10,
        q_lora_rank=q_rank,
        qk_nope_head_dim=6,
        qk_rope_head_dim=4,
        v_head_dim=7,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    hf._attn_implementation = "eager"
    return hf, model(hf, layer_idx=0)


def copy_weights(ours, peer):
    queries = {"q_proj": "q_proj"} if peer.q_lora_rank is None else {
        "q_proj.0": "q_a_proj", "q_proj.1": "q_a_layernorm", "q_proj.2": "q_b_proj"
    }  # fmt: skip
    names = queries | {
        "kv_down": "kv_a_proj_with_mqa",
        "kv_norm": "kv_a_layernorm",
        "kv_up": "kv_b_proj",
        "o_proj": "o_proj",
    }
    peer.load_state_dict(
        {f"{theirs}.weight": ours.get_submodule(mine).weight for mine, theirs in names.items()}
    )


@pytest.mark.parity
@pytest.mark.parametrize("q_rank", [None, 11])
@pytest.mark.parametrize("version", [2, 3])
def test_latent_attention_is_deepseeks(version, q_rank):
    ours, x, positions = layer(q_rank=q_rank), torch.randn(2, 7, 24), torch.arange(7)[None]
    if version == 2:
        hf, peer = deepseek(DeepseekV2Config, modeling_deepseek_v2.DeepseekV2Attention, q_rank)
        tables = modeling_deepseek_v2.DeepseekV2RotaryEmbedding(hf)(x, positions)
    else:
        hf, peer = deepseek(DeepseekV3Config, modeling_deepseek_v3.DeepseekV3Attention, q_rank)
        tables = modeling_deepseek_v3.DeepseekV3RotaryEmbedding(hf)(x, positions)
    copy_weights(ours, peer)
    additive = torch.zeros(7, 7).masked_fill(~causal_mask(7), -inf)
    expected, weights = peer(x, position_embeddings=tables, attention_mask=additive)[:2]
    of = "llmguide.nn.latent_attention.LatentAttention"
    against = f"transformers.models.deepseek_v{version}.DeepseekV{version}Attention"
    out, our_weights = ours(x, rope=rope_tables(7, 4), is_causal=True, need_weights=True)
    assert_parity(out, expected, of=of, against=against, atol=2e-5)
    assert_parity(our_weights, weights, of=of, against=against, atol=1e-5)
    assert_parity(
        ours(x, rope=rope_tables(7, 4), is_causal=True)[0], expected, of=of, against=against, atol=2e-5
    )


@settings(max_examples=25, deadline=None)
@given(chunks=st.lists(st.integers(1, 4), min_size=1, max_size=7), need_weights=st.booleans())
def test_a_cache_changes_nothing_for_any_chunking(chunks, need_weights):
    """Chunks of one token take the absorbed way, so this also proves the two ways equal."""
    ours, T, cache = layer().double(), sum(chunks), KVCache(1)
    x = torch.randn(2, T, 24, dtype=torch.float64)
    with torch.inference_mode():
        expected, weights = ours(x, rope=rope_tables(T, 4), is_causal=True, need_weights=True)
        for chunk in x.split(chunks, dim=1):
            n = cache.length
            m = n + chunk.shape[1]
            rope = rope_tables(torch.arange(n, m), 4)
            out, row = ours(chunk, rope=rope, is_causal=True, cache=cache, need_weights=need_weights)
            torch.testing.assert_close(out, expected[:, n:m])
            if need_weights:
                torch.testing.assert_close(row, weights[:, :, n:m, :m])


def test_the_two_ways_give_the_same_with_a_mask():
    ours, x = layer(), torch.randn(2, 7, 24)
    mask = padding_mask(torch.tensor([[1] * 7, [0, 0, 1, 1, 1, 1, 1]]))
    cache = KVCache(1)
    with torch.inference_mode():
        expected, _ = ours(x, rope=rope_tables(7, 4), mask=mask, is_causal=True)
        ours(x[:, :6], rope=rope_tables(6, 4), mask=mask[..., :6], is_causal=True, cache=cache)
        last, _ = ours(
            x[:, 6:], rope=rope_tables(torch.tensor([6]), 4), mask=mask, is_causal=True, cache=cache
        )
    torch.testing.assert_close(last, expected[:, 6:], atol=2e-5, rtol=1e-4)


def test_the_cache_holds_576_values_a_token_at_deepseeks_widths():
    """Section 2.1.4, table 1: (d_c + d_h^R) l = (4 d_h + d_h / 2) l values, with d_h = 128."""
    ours, cache = LatentAttention(8, 2, q_rank=3), KVCache(1)
    with torch.inference_mode():
        ours(torch.randn(1, 1, 8), rope=rope_tables(1, 64), cache=cache)
    assert cache.nbytes == (4 * 128 + 128 // 2) * 4 == 576 * 4


def test_latent_attention_is_causal():
    ours, x = layer(), torch.randn(2, 7, 24)
    changed = x.clone()
    changed[:, 4:] += 1
    before, after = (ours(y, rope=rope_tables(7, 4), is_causal=True)[0] for y in (x, changed))
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_gradients_reach_every_weight_on_both_ways():
    ours = layer()
    for T in (1, 5):
        ours.zero_grad()
        out, _ = ours(torch.randn(2, T, 24), rope=rope_tables(torch.arange(3, 3 + T), 4), is_causal=True)
        out.square().sum().backward()
        for name, parameter in ours.named_parameters():
            # with a single token the weights are 1 whatever the query is
            assert parameter.grad.isfinite().all()
            assert T == 1 or parameter.grad.any(), name
