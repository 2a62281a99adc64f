import pytest
import torch
from torch import nn

from llmguide.nn import _q4_product, q4
from llmguide.nn.q4 import Q4Embedding, Q4Linear, dequantize_q4, quantize_q4, stack_q4


def test_layers_are_joined_once_until_their_memory_changes():
    layers = [Q4Linear(*quantize_q4(torch.randn(rows, 64))) for rows in (3, 5)]
    whole = stack_q4(layers)
    assert stack_q4(layers) is whole
    assert torch.equal(stack_q4(layers[::-1]).weight, torch.cat([layer.weight for layer in layers[::-1]]))
    assert stack_q4(layers[:1]).out_features == 3
    assert stack_q4(layers) is not whole
    whole = stack_q4(layers)
    layers[1].codes = layers[1].codes.clone()
    again = stack_q4(layers)
    assert again is not whole
    assert torch.equal(again.weight, torch.cat([layer.weight for layer in layers]))


def test_joined_layers_are_precise_if_one_is():
    layers = [Q4Linear(*quantize_q4(torch.randn(rows, 64))) for rows in (3, 5)]
    layers[1].is_precise = True
    assert stack_q4(layers).is_precise
    assert not stack_q4(layers[:1]).is_precise


def test_joined_layers_share_the_memory_of_the_whole():
    layers = [Q4Linear(*quantize_q4(torch.randn(rows, 64))) for rows in (3, 5)]
    weights = [layer.weight for layer in layers]
    whole = stack_q4(layers)
    assert torch.equal(whole.weight, torch.cat(weights))
    assert [layer.weight.tolist() for layer in layers] == [weight.tolist() for weight in weights]
    ends = {tensor.untyped_storage().data_ptr() for tensor in whole.buffers()}
    assert {tensor.untyped_storage().data_ptr() for layer in layers for tensor in layer.buffers()} == ends


def test_dequantized_layers_compute_the_same_and_can_be_trained():
    model = nn.ModuleDict({"block": nn.Sequential(Q4Linear(*quantize_q4(torch.randn(64, 32))), nn.Tanh())})
    model["head"] = Q4Linear(
        *quantize_q4(torch.randn(7, 64)), correction=Q4Linear(*quantize_q4(torch.randn(3, 64) / 16))
    )
    model["tokens"] = Q4Embedding(model["head"])
    x, ids = torch.randn(5, 32), torch.tensor([0, 6])
    expected, rows = model["head"](model["block"](x)), model["tokens"](ids)
    assert dequantize_q4(model) is model
    torch.testing.assert_close(model["head"](model["block"](x)), expected)
    assert torch.equal(model["tokens"](ids), rows)
    assert [name for name, _ in model.named_parameters()] == ["block.0.weight", "head.weight"]
    assert isinstance(model["tokens"].table, Q4Linear)


@pytest.mark.parametrize("keeps_weights", [False, True])
@pytest.mark.parametrize("rows_at_once", [3, 4, 100])
@pytest.mark.parametrize("n_corrected", [0, 5])
def test_gradient_of_the_input_is_that_of_a_product_with_the_weight(
    keeps_weights, rows_at_once, n_corrected, monkeypatch
):
    monkeypatch.setattr(q4, "KEEPS_WEIGHTS", keeps_weights)
    monkeypatch.setattr(_q4_product, "ROWS", rows_at_once)
    correction = Q4Linear(*quantize_q4(torch.randn(n_corrected, 64))) if n_corrected else None
    layer = Q4Linear(*quantize_q4(torch.randn(11, 64)), correction=correction)
    x = torch.randn(2, 3, 64, requires_grad=True)
    grad = torch.randn(2, 3, 11)
    y = layer(x)
    torch.testing.assert_close(y, x @ layer.weight.T)
    y.backward(grad)
    torch.testing.assert_close(x.grad, grad @ layer.weight)
    assert not layer.weight.requires_grad


def _load_other(layer, other):
    layer.load_state_dict(other.state_dict())


def _write_into_the_codes(layer, other):
    layer.codes.copy_(other.codes)


def _replace_the_scales(layer, other):
    layer.row_scales = other.row_scales


def _change_the_correction(layer, other):
    layer.correction.scales.add_(1)


def _take_the_correction_away(layer, other):
    layer.correction = None


CHANGES = [
    _load_other,
    _write_into_the_codes,
    _replace_the_scales,
    _change_the_correction,
    _take_the_correction_away,
]


def corrected_layer():
    return Q4Linear(
        *quantize_q4(torch.randn(4, 32)), correction=Q4Linear(*quantize_q4(torch.randn(2, 32) / 16))
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_is_dequantized_once_until_a_buffer_changes(change, monkeypatch):
    layer, x, n_calls = corrected_layer(), torch.eye(32), []
    rows = Q4Linear.rows
    monkeypatch.setattr(Q4Linear, "rows", lambda self, at: n_calls.append(self) or rows(self, at))
    before = layer(x)
    assert torch.equal(layer(x), before)
    assert n_calls.count(layer) == 1
    change(layer, corrected_layer())
    after = layer(x)
    assert n_calls.count(layer) == 2
    torch.testing.assert_close(after, layer.weight.T, rtol=0, atol=0)
    assert not torch.equal(after, before)


def test_a_kept_weight_is_not_saved_and_follows_the_data_type():
    layer = corrected_layer()
    names = list(layer.state_dict())
    assert layer(torch.eye(32)).dtype == torch.float32
    assert list(layer.state_dict()) == names
    layer.to(torch.bfloat16)
    assert torch.equal(layer(torch.eye(32, dtype=torch.bfloat16)), layer.weight.to(torch.bfloat16).T)


def test_a_weight_kept_in_inference_mode_can_be_used_in_training():
    layer, x = corrected_layer(), torch.randn(3, 32, requires_grad=True)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(3, -1))


def test_a_layer_made_in_inference_mode_computes_the_same():
    with torch.inference_mode():
        layer = corrected_layer()
        assert torch.equal(layer(torch.eye(32)), layer.weight.T)
