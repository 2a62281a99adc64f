import torch

from llmguide.nn.q4 import Q4Linear, quantize_q4, stack_q4


def test_joined_layers_share_the_memory_of_the_whole():
    layers = [Q4Linear(*quantize_q4(torch.randn(rows, 64))) for rows in (3, 5)]
    weights = [layer.weight for layer in layers]
    whole = stack_q4(layers)
    assert torch.equal(whole.weight, torch.cat(weights))
    assert [layer.weight.tolist() for layer in layers] == [weight.tolist() for weight in weights]
    ends = {tensor.untyped_storage().data_ptr() for tensor in whole.buffers()}
    assert {tensor.untyped_storage().data_ptr() for layer in layers for tensor in layer.buffers()} == ends
