import itertools
from math import exp, inf

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.nn.attention import attention, fast_attention
from llmguide.nn.masks import causal_mask, padding_mask
from llmguide.nn.positions import alibi_bias

SDPA = "torch.nn.functional.scaled_dot_product_attention"
HALVES = [torch.bfloat16, torch.float16]
heads, sizes = st.integers(1, 3), st.integers(1, 5)


@pytest.fixture
def unchecked():
    """Turn the shape checks of jaxtyping off, to reach the errors that users without them see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def qkv(*, B=2, H=6, K=6, T_q=5, T_k=7, E=11, E_v=13, dtype=torch.float32, seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed)
    shapes = (B, H, T_q, E), (B, K, T_k, E), (B, K, T_k, E_v)
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [tensor.requires_grad_(grad) for tensor in tensors]


def random_mask(*shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[..., 1, :] = False  # a query that may attend to nothing
    return mask


# ---- the formula ---------------------------------------------------------------------------------


def test_two_keys_by_hand():
    # scores 1 * 2 / sqrt(1) and 1 * 1: weights e^2 : e^1 = e : 1
    out, weights = attention(
        torch.tensor([[1.0]]), torch.tensor([[2.0], [1.0]]), torch.tensor([[3.0], [5.0]])
    )
    share = exp(1) / (exp(1) + 1)
    torch.testing.assert_close(weights, torch.tensor([[share, 1 - share]]))
    torch.testing.assert_close(out, torch.tensor([[3 * share + 5 * (1 - share)]]))


def test_grouped_heads_share_the_key_head_of_their_neighbors():
    q, k = torch.zeros(4, 1, 1), torch.zeros(2, 1, 1)
    v = torch.tensor([10.0, 20.0]).view(2, 1, 1)
    assert attention(q, k, v)[0].flatten().tolist() == [10.0, 10.0, 20.0, 20.0]
    assert fast_attention(q, k, v).flatten().tolist() == [10.0, 10.0, 20.0, 20.0]


@pytest.mark.parity
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("K", [6, 3, 2, 1])
@pytest.mark.parametrize(("T_q", "T_k"), [(5, 5), (1, 7), (5, 7), (7, 5)])
def test_attention_is_sdpa(dtype, K, T_q, T_k):
    q, k, v = qkv(K=K, T_q=T_q, T_k=T_k, dtype=dtype)
    mask = torch.rand(2, 1, T_q, T_k, generator=torch.Generator().manual_seed(1)) < 0.7
    mask[..., 0] = True  # torch's own answer for a row without keys is tested apart
    bias = alibi_bias(6, T_q, T_k).to(dtype)
    for ours, peer in (
        (attention(q, k, v), F.scaled_dot_product_attention(q, k, v, enable_gqa=True)),
        (attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)),
        (attention(q, k, v, bias=bias), F.scaled_dot_product_attention(q, k, v, bias, enable_gqa=True)),
        (attention(q, k, v, scale=0.3), F.scaled_dot_product_attention(q, k, v, scale=0.3, enable_gqa=True)),
    ):
        assert_parity(ours[0], peer, of="llmguide.nn.attention.attention", against=SDPA, atol=1e-6)


@pytest.mark.parity
def test_causal_attention_is_sdpa():
    q, k, v = qkv(T_q=7, T_k=7)
    peer = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    ours, _ = attention(q, k, v, causal_mask(7))
    assert_parity(ours, peer, of="llmguide.nn.attention.attention", against=SDPA, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("function", [attention, fast_attention])
def test_gradients_are_those_of_sdpa(function):
    gradients = []
    for run in (function, F.scaled_dot_product_attention):
        q, k, v = qkv(K=6, grad=True)
        options = {"mask": causal_mask(5, 7)} if run is function else {"attn_mask": causal_mask(5, 7)}
        out = run(q, k, v, **options)
        out = out[0] if isinstance(out, tuple) else out
        (out * torch.arange(13.0)).sum().backward()
        gradients.append(torch.cat([q.grad.flatten(), k.grad.flatten(), v.grad.flatten()]))
    assert_parity(*gradients, of=f"llmguide.nn.attention.{function.__name__}", against=SDPA, atol=3e-5)


def test_gradients_are_those_of_finite_differences():
    inputs = qkv(B=1, H=2, K=1, T_q=3, T_k=3, E=2, E_v=2, dtype=torch.float64, grad=True)
    mask = random_mask(1, 1, 3, 3)
    assert torch.autograd.gradcheck(lambda q, k, v: attention(q, k, v, mask)[0], inputs)


@pytest.mark.parametrize("K", [6, 2, 1])
@pytest.mark.parametrize(("T_q", "T_k"), [(1, 1), (5, 5), (1, 7), (5, 7), (7, 5), (3, 0), (0, 3)])
def test_fast_attention_is_attention(K, T_q, T_k):
    q, k, v = qkv(K=K, T_q=T_q, T_k=T_k)
    masks = None, random_mask(2, 1, max(T_q, 2), T_k)[..., :T_q, :], padding_mask(torch.tensor([T_k, 0]), T_k)
    for mask, bias, is_causal, scale in itertools.product(
        masks, (None, alibi_bias(6, T_q, T_k)), (False, True), (None, 0.3)
    ):
        causal = causal_mask(T_q, T_k) if is_causal else torch.ones(T_q, T_k, dtype=torch.bool)
        expected, weights = attention(
            q, k, v, causal if mask is None else mask & causal, bias=bias, scale=scale
        )
        out = fast_attention(q, k, v, mask, bias=bias, is_causal=is_causal, scale=scale)
        torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-5)
        assert weights.shape == (2, 6, T_q, T_k)


def test_dropout_takes_the_same_weights_in_both_paths():
    q, k, v = qkv(T_q=31, T_k=31, dtype=torch.float64)
    torch.manual_seed(3)
    out, weights = attention(q, k, v, dropout=0.5)
    torch.manual_seed(3)
    torch.testing.assert_close(fast_attention(q, k, v, dropout=0.5), out)
    assert 0.45 < (weights == 0).double().mean() < 0.55
    assert weights.sum(-1).mean().item() == pytest.approx(1, abs=0.05)


# ---- edges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
@pytest.mark.parametrize("function", [attention, fast_attention])
@pytest.mark.parametrize("hide", ["mask", "bias"])
def test_a_query_without_keys_gives_zeros_and_finite_gradients(dtype, function, hide):
    q, k, v = qkv(K=3, dtype=dtype, grad=True)
    mask = random_mask(2, 6, 5, 7)
    mask[1] = False
    hidden = {"mask": mask} if hide == "mask" else {"bias": torch.zeros(mask.shape).masked_fill(~mask, -inf)}
    result = function(q, k, v, **hidden)
    out = result[0] if function is attention else result
    out.float().square().sum().backward()
    assert not out[:, :, 1].any()
    assert not out[1].any()
    for tensor in (out, q.grad, k.grad, v.grad):
        assert tensor.isfinite().all()
    assert not q.grad[1].any()
    if function is attention:
        assert not result[1][~mask].any()


def test_anomaly_mode_finds_no_nan_on_the_way():
    q, k, v = qkv(grad=True)
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        attention(q, k, v, random_mask(5, 7))[0].sum().backward()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("function", [attention, fast_attention])
def test_half_precision_rounds_once_from_float32(dtype, function):
    q, k, v = qkv(K=2, dtype=dtype)
    exact, _ = attention(q.double(), k.double(), v.double(), causal_mask(5, 7))
    result = function(q, k, v, causal_mask(5, 7))
    out = result[0] if function is attention else result
    assert out.dtype == dtype
    # one rounding is half a unit in the last place; the fused kernel also rounds the weights
    slack = 0.51 if function is attention else 4
    assert (
        (out.double() - exact).abs() <= slack * torch.finfo(dtype).eps * exact.abs().clamp(min=0.25)
    ).all()


def test_extreme_scores_pick_the_largest_without_overflow():
    for dtype, size in (
        (torch.float64, 1e100),
        (torch.float32, 1e15),
        (torch.bfloat16, 1e15),
        (torch.float16, 6e4),
    ):
        q = torch.full((1, 4), size, dtype=dtype)
        k = torch.tensor([[-1.0] * 4, [1.0] * 4, [0.5] * 4]).to(dtype) * size
        out, weights = attention(q, k, torch.tensor([[1.0], [2.0], [3.0]], dtype=dtype))
        assert weights.tolist() == [[0.0, 1.0, 0.0]]
        assert out.item() == 2.0
        assert fast_attention(q, k, torch.tensor([[1.0], [2.0], [3.0]], dtype=dtype)).item() == 2.0


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 3, 5), (0, 3)])
def test_any_leading_axes(leading):
    q, k, v = torch.randn(*leading, 5, 11), torch.randn(*leading, 7, 11), torch.randn(*leading, 7, 13)
    out, weights = attention(q, k, v, causal_mask(5, 7))
    assert out.shape == (*leading, 5, 13)
    assert weights.shape == (*leading, 5, 7)
    torch.testing.assert_close(fast_attention(q, k, v, is_causal=True), out)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 1), (1, 1), (3, 1, 7), (1, 3, 5, 7)])
def test_masks_and_biases_of_any_broadcastable_shape(shape):
    q, k, v = qkv(H=3, K=3)
    mask, bias = torch.rand(shape) < 0.7, torch.randn(shape)
    for extra in ({"mask": mask}, {"bias": bias}, {"mask": mask, "bias": bias}):
        full = {name: x.expand(2, 3, 5, 7) for name, x in extra.items()}
        out, _ = attention(q, k, v, **full)
        torch.testing.assert_close(attention(q, k, v, **extra)[0], out)
        torch.testing.assert_close(fast_attention(q, k, v, **extra), out)


def test_a_bias_may_be_wider_than_the_queries():
    (q, k, v), bias = qkv(), torch.randn(5, 7)
    for dtype in (torch.float64, torch.bfloat16):
        rounded = bias.to(dtype)
        out, weights = attention(q, k, v, bias=rounded)
        assert out.dtype == weights.dtype == torch.float32
        torch.testing.assert_close(out, attention(q, k, v, bias=rounded.float())[0])
        torch.testing.assert_close(fast_attention(q, k, v, bias=rounded), out)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [attention, fast_attention])
def test_misfits_are_named(function):
    def zeros(*shape):
        return torch.zeros(shape)

    q, k, v = zeros(2, 6, 5, 11), zeros(2, 3, 7, 11), zeros(2, 3, 7, 13)
    for inputs, message in (
        ((q, zeros(2, 3, 7, 10), v), r"\(2, 6, 5, 11\) and k \(2, 3, 7, 10\)"),
        ((q, k, zeros(2, 3, 8, 13)), r"k \(2, 3, 7, 11\) and v \(2, 3, 8, 13\)"),
        ((q, zeros(2, 4, 7, 11), zeros(2, 4, 7, 13)), r"\(2, 6, 5, 11\) and k \(2, 4, 7, 11\)"),
        ((q, zeros(1, 3, 7, 11), zeros(1, 3, 7, 13)), r"\(2, 6, 5, 11\) and k \(1, 3, 7, 11\)"),
        ((q, k[0], v[0]), "same leading axes"),
        ((zeros(11), k, v), r"\(11,\)"),
        ((q, k.double(), v), "float64"),
        ((q, k, v, zeros(5, 7)), "bias="),
        ((q, k, v, zeros(5, 7).long()), "boolean"),
        ((q, k, v, zeros(5, 8).bool()), r"\(5, 8\) must broadcast to \(2, 6, 5, 7\)"),
        ((q, k, v, zeros(3, 2, 6, 5, 7).bool()), "broadcast"),
    ):
        with pytest.raises(ValueError, match=message):
            function(*inputs)
    with pytest.raises(ValueError, match="bias"):
        function(q, k, v, bias=zeros(6, 5, 8))


# ---- properties ----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(heads, heads, st.tuples(sizes, sizes, sizes), st.booleans())
def test_weights_are_a_distribution_and_make_the_output(K, group, shape, is_causal):
    T_q, T_k, E = shape
    q, k, v = qkv(H=K * group, K=K, T_q=T_q, T_k=T_k, E=E)
    mask = causal_mask(T_q, T_k) if is_causal else None
    out, weights = attention(q, k, v, mask)
    visible = torch.ones(T_q, T_k, dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(weights.sum(-1), visible.any(-1).float().expand(2, K * group, T_q))
    assert not weights[..., ~visible].any()
    torch.testing.assert_close(out, weights @ v.repeat_interleave(group, dim=1))
    torch.testing.assert_close(fast_attention(q, k, v, is_causal=is_causal), out, atol=2e-6, rtol=1e-5)


def test_attention_permutes_with_its_queries_and_ignores_the_order_of_keys():
    q, k, v = qkv()
    queries, keys = torch.randperm(5), torch.randperm(7)
    out, _ = attention(q, k, v)
    torch.testing.assert_close(
        attention(q[:, :, queries], k[:, :, keys], v[:, :, keys])[0], out[:, :, queries]
    )


def test_the_future_has_no_influence():
    q, k, v = qkv(T_q=7, T_k=7, grad=True)
    for out in (attention(q, k, v, causal_mask(7))[0], fast_attention(q, k, v, is_causal=True)):
        for i in range(7):
            for gradient in torch.autograd.grad(out[:, :, i].sum(), (k, v), retain_graph=True):
                assert not gradient[:, :, i + 1 :].any()


def test_adding_a_constant_to_the_scores_of_a_query_changes_nothing():
    q, k, v = qkv()
    torch.testing.assert_close(attention(q, k, v, bias=torch.randn(5, 1))[0], attention(q, k, v)[0])
