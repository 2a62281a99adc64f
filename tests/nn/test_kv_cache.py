import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from transformers import DynamicCache, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS
from llmguide.models import build
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.masks import padding_mask
from llmguide.nn.multi_head_attention import MultiHeadAttention
from llmguide.nn.positions import alibi_bias
from llmguide.nn.rope import rope_tables


def config(**changes):
    sizes = {"vocab_size": 17, "context_length": 19, "n_layers": 2, "d_model": 24, "n_heads": 6}
    return ModelConfig(**(sizes | {"n_kv_heads": 2, "positions": "rope", "bias": False} | changes))


def ramp(T, start=0, *, B=2, K=3, E=5):
    """Keys that tell their position: every component of token t is start + t."""
    return torch.arange(start, start + T).float().view(1, 1, T, 1).expand(B, K, T, E)


def held(cache, layer=0):
    return cache[layer][0][0, 0, :, 0].tolist()


def chunked(layers, x, chunks, cache, **options):
    """Run two layers over ``x`` chunk by chunk, with positions counted by the cache."""
    outputs = []
    for hidden in x.split(chunks, dim=1):
        T, n, out = hidden.shape[1], cache.length, hidden
        rope = rope_tables(torch.arange(n, n + T), 4)
        for i, layer in enumerate(layers):
            out, _ = layer(out, is_causal=True, rope=rope, cache=cache, layer=i, **options)
        outputs.append(out)
    return torch.cat(outputs, dim=1)


@settings(max_examples=40, deadline=None)
@given(
    chunks=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    capacity=st.integers(0, 20),
    window=st.none() | st.integers(1, 6),
    need_weights=st.booleans(),
)
def test_a_cache_changes_nothing_for_any_chunking(chunks, capacity, window, need_weights):
    torch.manual_seed(0)
    T = sum(chunks)
    layers = [MultiHeadAttention(config(sliding_window=window)) for _ in range(2)]
    x, rope = torch.randn(2, T, 24), rope_tables(T, 4)
    with torch.inference_mode():
        expected = x
        for layer in layers:
            expected, _ = layer(expected, is_causal=True, rope=rope)
        cache = KVCache(2, capacity=capacity, window=window)
        out = chunked(layers, x, chunks, cache, need_weights=need_weights)
    assert cache.length == T
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)


def test_a_cache_changes_nothing_with_alibi():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(config(positions="alibi")), torch.randn(2, 7, 24)
    expected, _ = layer(x, is_causal=True, bias=alibi_bias(6, 7))
    cache = KVCache(1)
    with torch.inference_mode():
        out = [
            layer(x[:, n : n + 1], is_causal=True, bias=alibi_bias(6, 1, n + 1), cache=cache)[0]
            for n in range(7)
        ]
    torch.testing.assert_close(torch.cat(out, dim=1), expected)


def test_a_batch_padded_on_the_left_equals_its_rows_alone():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(config()), torch.randn(2, 7, 24)
    real = torch.tensor([[1] * 7, [0] * 3 + [1] * 4])
    rope = rope_tables((real.cumsum(1) - 1).clamp(min=0), 4)
    cache = KVCache(1)
    with torch.inference_mode():
        parts = []
        for n, T in ((0, 5), (5, 1), (6, 1)):
            step = slice(n, n + T)
            mask, tables = padding_mask(real[:, : n + T]), tuple(table[:, step] for table in rope)
            parts.append(layer(x[:, step], is_causal=True, mask=mask, rope=tables, cache=cache)[0])
        batched = torch.cat(parts, dim=1)
        torch.testing.assert_close(batched[:1], layer(x[:1], is_causal=True, rope=rope_tables(7, 4))[0])
        alone, _ = layer(x[1:, 3:], is_causal=True, rope=rope_tables(4, 4))
    torch.testing.assert_close(batched[1:, 3:], alone)


def test_cross_attention_projects_its_context_once():
    torch.manual_seed(0)
    layer, x, context = MultiHeadAttention(config()), torch.randn(2, 3, 24), torch.randn(2, 7, 24)
    cache = KVCache(1)
    with torch.inference_mode():
        steps = [layer(x[:, n : n + 1], context=context, cache=cache)[0] for n in range(3)]
        torch.testing.assert_close(torch.cat(steps, dim=1), layer(x, context=context)[0])
    assert cache.length == 7


@pytest.mark.parity
def test_keys_and_values_are_those_of_transformers_cache():
    torch.manual_seed(0)
    hf = LlamaConfig(hidden_size=24, num_attention_heads=6, num_key_value_heads=2, num_hidden_layers=1)
    hf._attn_implementation = "sdpa"
    peer, theirs = LlamaAttention(hf, layer_idx=0), DynamicCache(config=hf)
    layer, ours = MultiHeadAttention(config()), KVCache(1)
    layer.load_state_dict(peer.state_dict())
    x, rotary = torch.randn(2, 7, 24), LlamaRotaryEmbedding(hf)
    of, against = "llmguide.nn.kv_cache.KVCache", "transformers.DynamicCache"
    with torch.inference_mode():
        for n, T in ((0, 5), (5, 1), (6, 1)):
            step, positions = x[:, n : n + T], torch.arange(n, n + T)
            expected, _ = peer(
                step, position_embeddings=rotary(x, positions[None]), attention_mask=None, cache=theirs
            )
            out, _ = layer(step, is_causal=True, rope=rope_tables(positions, 4), cache=ours)
            assert_parity(out, expected, of=of, against=against, atol=1e-6)
    k, v = ours[0]
    assert_parity(k, theirs.layers[0].keys, of=of, against=against, atol=1e-6)
    assert_parity(v, theirs.layers[0].values, of=of, against=against, atol=1e-6)
    assert ours.length == theirs.get_seq_length()


def test_append_returns_views():
    cache = KVCache(1, capacity=11)
    k, _ = cache.append(0, ramp(3), ramp(3))
    later, v = cache.append(0, ramp(1, 3), ramp(1, 3))
    assert k.data_ptr() == later.data_ptr() == cache[0][0].data_ptr()
    assert v[1, 2, :, 4].tolist() == [0, 1, 2, 3]
    assert later.shape == (2, 3, 4, 5)


def test_the_length_is_that_of_the_slowest_layer():
    cache = KVCache(2)
    assert cache.length == 0
    cache.append(0, ramp(3), ramp(3))
    assert (cache.length, cache.holds(0), cache.holds(1)) == (0, True, False)
    cache.append(1, ramp(3), ramp(3))
    assert cache.length == 3


def test_copies_stay_below_two_a_token():
    cache, copied, before = KVCache(1), 0, None
    for n in range(1000):
        k, _ = cache.append(0, ramp(1, n, B=1, K=1, E=1), ramp(1, n, B=1, K=1, E=1))
        copied += 0 if k.data_ptr() == before else n
        before = k.data_ptr()
    assert copied < 2000
    assert held(cache) == list(range(1000))


def test_memory_of_a_window_does_not_grow():
    cache = KVCache(1, capacity=10_000, window=7)
    for n in range(100):
        k, _ = cache.append(0, ramp(1, n), ramp(1, n))
        assert k[0, 0, :, 0].tolist() == list(range(max(0, n - 6), n + 1))
        assert cache.nbytes <= 2 * (2 * 3 * 5) * 4 * 14  # keys and values, 2 windows of float32
    assert cache.length == 100


@pytest.mark.parametrize(
    ("preset", "expected"), [("llama-2-7b", 524_288), ("llama-2-70b", 327_680), ("llama-3-8b", 131_072)]
)
def test_bytes_per_token_of_published_models(preset, expected):
    """2 L K E values of 2 bytes: 2 * 32 * 32 * 128 * 2, 2 * 80 * 8 * 128 * 2, 2 * 32 * 8 * 128 * 2."""
    model = PRESETS[preset]
    cache, token = (
        KVCache(model.n_layers),
        torch.zeros(1, model.n_kv_heads, 1, model.head_dim, dtype=torch.bfloat16),
    )
    for layer in range(model.n_layers):
        cache.append(layer, token, token)
    assert cache.nbytes == expected


def test_crop_forgets_the_end():
    cache = KVCache(1)
    cache.append(0, ramp(7), ramp(7))
    cache.crop(4)
    assert (held(cache), cache.length) == ([0, 1, 2, 3], 4)
    cache.append(0, ramp(2, 40), ramp(2, 40))
    assert held(cache) == [0, 1, 2, 3, 40, 41]
    with pytest.raises(ValueError, match="crop to 7 tokens: the cache has seen 6"):
        cache.crop(7)


def test_crop_in_a_window_needs_the_tokens_before():
    cache = KVCache(1, window=3)
    for n in range(6):
        cache.append(0, ramp(1, n), ramp(1, n))
    oldest = cache._layers[0].start
    cache.crop(oldest + 2)
    k, _ = cache.append(0, ramp(1, 90), ramp(1, 90))
    assert k[0, 0, :, 0].tolist() == [oldest, oldest + 1, 90]
    with pytest.raises(ValueError, match="a window of 3 needs token"):
        cache.crop(oldest + 1)


@pytest.mark.parametrize(
    ("windows", "reach"),
    [
        ({}, "all tokens"),
        ({"sliding_window": 3, "n_full_layers": 1}, "all tokens"),
        ({"sliding_window": 4}, "4 tokens"),
    ],
)
def test_a_window_that_drops_what_a_layer_sees_is_refused(windows, reach):
    model = build(config(**windows))
    with pytest.raises(ValueError, match=f"window=3 drops keys of this layer, which attends to {reach}"):
        model(torch.zeros(1, 2, dtype=torch.long), cache=KVCache(2, window=3))


@pytest.mark.parametrize("rows", [[1, 1], [0, 0, 1, 1, 1], [1]])
def test_reorder_moves_rows(rows):
    cache = KVCache(2, capacity=11)
    for layer in range(2):
        k = torch.randn(2, 3, 7, 5)
        cache.append(layer, k, k + 1)
        cache.reorder(torch.tensor([0, 1]))
        expected = k
    cache.reorder(torch.tensor(rows))
    assert torch.equal(cache[1][0], expected[rows])
    assert torch.equal(cache[1][1], expected[rows] + 1)
    cache.append(1, ramp(1, B=len(rows)), ramp(1, B=len(rows)))
    assert cache[1][0].shape == (len(rows), 3, 8, 5)


def test_keys_and_values_may_differ_in_width_and_any_dtype():
    cache = KVCache(1)
    k, v = cache.append(0, torch.ones(2, 1, 3, 16).half(), torch.ones(2, 1, 3, 5).half())
    assert (k.shape, v.shape, v.dtype) == ((2, 1, 3, 16), (2, 1, 3, 5), torch.float16)


def test_a_backward_through_one_append_is_exact():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(config()), torch.randn(2, 5, 24, requires_grad=True)
    gradients = [
        torch.autograd.grad(layer(x, is_causal=True, rope=rope_tables(5, 4), cache=cache)[0].sum(), x)[0]
        for cache in (None, KVCache(1))
    ]
    torch.testing.assert_close(*gradients)


def test_misuse_is_named():
    cache = KVCache(2)
    with pytest.raises(ValueError, match="layer 1 is empty"):
        cache[1]
    cache.append(0, ramp(3), ramp(3))
    with pytest.raises(ValueError, match=r"\(2, 3, 3, 5\), got \(4, 3, 1, 5\)"):
        cache.append(0, ramp(1, B=4), ramp(1, B=4))
    with pytest.raises(ValueError, match=r"values \(2, 3, 3, 5\), got \(2, 3, 1, 1\)"):
        cache.append(0, ramp(1), ramp(1, E=1))
    with pytest.raises(ValueError, match="window=0"):
        KVCache(1, window=0)
