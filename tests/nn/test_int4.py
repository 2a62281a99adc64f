"""Layers in the order of torch's kernel for 4-bit weights, and the models that get them."""

import weakref

import pytest
import torch
from torch import nn

from llmguide.nn._int4 import Int4Linear, pack_int4
from llmguide.nn.q4 import Q4Embedding, Q4Linear, quantize_q4


@pytest.mark.parametrize("n_corrected", [0, 16])
def test_packed_weights_compute_what_dequantized_ones_do_in_bfloat16(n_corrected):
    torch.manual_seed(0)
    weight = torch.randn(4160, 96)  # more rows than are packed at once
    correction = Q4Linear(*quantize_q4(torch.randn(n_corrected, 96) / 50)) if n_corrected else None
    layer = Q4Linear(*quantize_q4(weight), correction=correction).to(torch.bfloat16)
    packed = Int4Linear(layer)
    for shape in ((96,), (1, 96), (2, 9, 96)):
        x = torch.randn(*shape).bfloat16()
        y = packed(x)
        expected = x.double() @ layer.weight.double().T
        assert y.shape == expected.shape
        assert y.dtype == torch.bfloat16
        # scales, zeros and results have 8 significant bits
        bound = (x.double().abs() @ layer.weight.double().abs().T) * 2**-7 + 2**-8 * expected.abs()
        assert ((y.double() - expected).abs() <= bound).all()


def test_packing_frees_the_weights_it_replaces_and_keeps_those_of_the_embedding():
    head = Q4Linear(*quantize_q4(torch.randn(64, 32)))
    model = nn.ModuleDict(
        {
            "tokens": Q4Embedding(head),
            "block": nn.Sequential(Q4Linear(*quantize_q4(torch.randn(32, 32)))),
            "head": head,
        }
    ).to(torch.bfloat16)
    codes = weakref.ref(model["block"][0].codes)
    ids = torch.tensor([3, 60])
    rows = model["tokens"](ids)
    pack_int4(model)
    assert codes() is None
    assert isinstance(model["block"][0], Int4Linear)
    assert isinstance(model["head"], Int4Linear)
    torch.testing.assert_close(model["tokens"](ids), rows, rtol=0, atol=0)


def test_layers_that_the_kernel_does_not_take_stay():
    in_float32 = Q4Linear(*quantize_q4(torch.eye(32)))
    narrow = Q4Linear(*quantize_q4(torch.randn(24, 32))).to(torch.bfloat16)
    model = nn.Sequential(in_float32, narrow)
    pack_int4(model)
    assert list(model) == [in_float32, narrow]
