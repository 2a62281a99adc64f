import torch

from llmguide.nn.q4 import Q4Linear, quantize_q4, stack_q4


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
