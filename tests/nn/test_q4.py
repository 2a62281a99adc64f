import pytest
import torch
from torch import nn

from llmguide.nn import q4
from llmguide.nn._int4 import has_int4_kernel
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


@pytest.mark.parametrize("rows_at_once", [3, 4, 100])
@pytest.mark.parametrize("n_corrected", [0, 5])
def test_gradient_of_the_input_is_that_of_a_product_with_the_weight(rows_at_once, n_corrected, monkeypatch):
    monkeypatch.setattr(q4, "ROWS", rows_at_once)
    correction = Q4Linear(*quantize_q4(torch.randn(n_corrected, 64))) if n_corrected else None
    layer = Q4Linear(*quantize_q4(torch.randn(11, 64)), correction=correction)
    x = torch.randn(2, 3, 64, requires_grad=True)
    grad = torch.randn(2, 3, 11)
    y = layer(x)
    torch.testing.assert_close(y, x @ layer.weight.T)
    y.backward(grad)
    torch.testing.assert_close(x.grad, grad @ layer.weight)
    assert not layer.weight.requires_grad


@pytest.mark.parametrize("n_corrected", [0, 16])
def test_packed_weights_compute_what_dequantized_ones_do_in_bfloat16(n_corrected):
    torch.manual_seed(0)
    weight = torch.randn(4160, 96)  # more rows than are packed at once
    correction = Q4Linear(*quantize_q4(torch.randn(n_corrected, 96) / 50)) if n_corrected else None
    layer = Q4Linear(*quantize_q4(weight), correction=correction).to(torch.bfloat16)
    assert has_int4_kernel(layer)
    for shape in ((96,), (1, 96), (2, 9, 96)):
        x = torch.randn(*shape).bfloat16()
        with torch.no_grad():
            y = layer.prepared()(x)
        expected = x.double() @ layer.weight.double().T
        assert y.shape == expected.shape
        assert y.dtype == torch.bfloat16
        # scales, zeros and results have 8 significant bits
        bound = (x.double().abs() @ layer.weight.double().abs().T) * 2**-7 + 2**-8 * expected.abs()
        assert ((y.double() - expected).abs() <= bound).all()


def test_other_layers_are_not_packed():
    layer = Q4Linear(*quantize_q4(torch.eye(32)))
    assert layer.prepared() is layer  # float32
    narrow = Q4Linear(*quantize_q4(torch.randn(24, 32))).to(torch.bfloat16)
    assert narrow.prepared() is narrow
