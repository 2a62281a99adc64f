"""Adapters start at the base, merge, switch, and equal PEFT's in outputs, gradients and merged weights."""

import copy

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.test_models import tokens
from tests.models.tiny import hf_model
from tests.parity import assert_parity
from torch import nn

from llmguide.config.model_config import ModelConfig
from llmguide.costs.linear_layers import lora_params
from llmguide.models import build, from_hf
from llmguide.nn.q4 import Q4Linear, quantize_q4
from llmguide.post_training.adapters._fused_lora import add_low_rank_
from llmguide.post_training.adapters.lora import (
    adapter_names,
    adapter_state,
    apply_lora,
    lora_layers,
    merge_lora,
    remove_lora,
    set_adapter,
    unmerge_lora,
)
from llmguide.post_training.adapters.lora_layer import Adapter, LoRALinear, add_low_rank
from llmguide.post_training.adapters.quantized_linear import QuantizedLinear, quantize_model
from llmguide.training.losses import next_token_loss

CONFIG = ModelConfig(vocab_size=53, context_length=16, n_layers=2, d_model=24, n_heads=3)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "up", "down"]


def adapted(seed=0, *, targets=ALL, rank=3, started=False, **options):
    """A model with an adapter, as after some training unless it is only started."""
    torch.manual_seed(seed)
    model = apply_lora(build(CONFIG), rank=rank, alpha=6, target_modules=targets, **options)
    return model if started else train_a_bit(model)


def train_a_bit(model, name="default"):
    for _, layer in lora_layers(model):
        if name in layer.adapters:
            nn.init.normal_(layer.adapters[name].B, std=0.2)
    return model


def test_by_hand():
    layer = LoRALinear(nn.Linear(2, 2, bias=False))
    adapter = Adapter(2, 2, rank=1, alpha=3)
    with torch.no_grad():
        layer.base.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        adapter.A.copy_(torch.tensor([[1.0, 1.0]]))
        adapter.B.copy_(torch.tensor([[2.0], [0.0]]))
    layer.adapters["a"], layer.active = adapter, "a"
    x = torch.tensor([[[1.0, 2.0]], [[0.0, -1.0]]])
    # x + 3 x (x_1 + x_2) x (2, 0)
    assert layer(x).tolist() == [[[19.0, 2.0]], [[-6.0, -1.0]]]
    assert layer(x[0, 0]).tolist() == [19.0, 2.0]
    assert layer.weight.tolist() == [[7.0, 6.0], [0.0, 1.0]]


def test_starts_at_the_base_exactly():
    torch.manual_seed(0)
    base = build(CONFIG)
    model = apply_lora(copy.deepcopy(base), rank=2, alpha=4, target_modules=ALL, dropout=0.5)
    assert model(tokens(2, 9)).equal(base(tokens(2, 9)))


@pytest.mark.parametrize("rslora", [False, True])
def test_only_adapters_train_and_their_number_is_known(rslora):
    model = adapted(targets=["q_proj", "up"], rslora=rslora)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(".adapters.default." in name for name in names)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == lora_params(
        CONFIG, 3, ["q_proj", "up"]
    )
    next_token_loss(model, tokens(2, 9)).backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(names)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.floats(0.1, 32), st.booleans(), st.integers(0, 100))
def test_merged_equals_unmerged_and_comes_back(rank, alpha, rslora, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 7))
    weights = [model[0].weight.detach().clone(), model[2].weight.detach().clone()]
    train_a_bit(apply_lora(model, rank=rank, alpha=alpha, target_modules=["0", "2"], rslora=rslora))
    x = torch.randn(5, 8)
    with torch.no_grad():
        unmerged, direct = model(x), model[2].weight.clone()
        scale = max(1.0, unmerged.abs().max().item())
        torch.testing.assert_close(merge_lora(model)(x) / scale, unmerged / scale, atol=2e-6, rtol=0)
        torch.testing.assert_close(model[2].weight, direct, atol=1e-5, rtol=1e-5)
        unmerge_lora(model)
        torch.testing.assert_close(model(x) / scale, unmerged / scale, atol=2e-6, rtol=0)
    for layer, weight in zip((model[0], model[2]), weights, strict=True):
        torch.testing.assert_close(layer.base.weight.detach(), weight, atol=3e-6, rtol=1e-6)


def test_merged_language_model():
    model, ids = adapted(), tokens(2, 9)
    before = model(ids)
    torch.testing.assert_close(merge_lora(model)(ids), before, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(remove_lora(model)(ids), before, atol=1e-6, rtol=1e-6)
    assert model.state_dict().keys() == build(CONFIG).state_dict().keys()
    assert all(p.requires_grad for p in model.parameters())


def test_dropout_only_in_training():
    model, ids = adapted(dropout=0.5), tokens(2, 9)
    model.eval()
    assert model(ids).equal(model(ids))
    quiet = model(ids)
    model.train()
    assert not model(ids).equal(model(ids))
    torch.manual_seed(0)
    mean = model.blocks[0].attention.q_proj(torch.ones(4000, 24)).mean(dim=0)
    model.eval()
    expected = model.blocks[0].attention.q_proj(torch.ones(24))
    assert (mean - expected).abs().max() < 0.1  # dropout keeps the mean
    assert quiet.equal(model(ids))


def test_several_adapters():
    model, ids = adapted(started=True), tokens(2, 9)
    base = model(ids)
    train_a_bit(model)
    first = model(ids)
    train_a_bit(
        apply_lora(model, rank=2, alpha=1, target_modules=["up", "o_proj"], adapter_name="second"), "second"
    )
    second = model(ids)
    assert adapter_names(model) == ["default", "second"]
    assert all(".second." in n for n, p in model.named_parameters() if p.requires_grad)
    set_adapter(model, None)
    assert model(ids).equal(base)
    assert not any(p.requires_grad for p in model.parameters())
    set_adapter(model, "default")
    assert model(ids).equal(first)
    assert not first.allclose(second)
    with pytest.raises(ValueError, match="no adapter is named 'third'; there are \\['default', 'second'\\]"):
        set_adapter(model, "third")


def test_adapter_state_is_small_and_complete():
    model, ids = adapted(), tokens(2, 9)
    state = adapter_state(model)
    assert sum(t.numel() for t in state.values()) == lora_params(CONFIG, 3, ALL)
    other = adapted(started=True)  # the same base
    found = other.load_state_dict(state, strict=False)
    assert not found.unexpected_keys
    assert other(ids).equal(model(ids))


def test_head_and_chunked_loss_see_the_adapter():
    config = ModelConfig(
        vocab_size=53, context_length=16, n_layers=1, d_model=12, n_heads=2, tie_embeddings=False
    )
    model = train_a_bit(apply_lora(build(config), rank=2, alpha=2, target_modules=["head"]))
    hidden, ids = torch.randn(3, 12), tokens(2, 9)
    torch.testing.assert_close(model.unembed(hidden), model.head(hidden))
    losses = [next_token_loss(model, ids, chunked=chunked) for chunked in (True, False)]
    grads = [torch.autograd.grad(loss, model.head.adapters["default"].B)[0] for loss in losses]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(grads[0], grads[1], atol=1e-6, rtol=1e-4)


def test_half_precision_keeps_float32_adapters():
    torch.manual_seed(0)
    model = apply_lora(build(CONFIG).bfloat16(), rank=2, alpha=2, target_modules=ALL)
    train_a_bit(model)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    loss = next_token_loss(model, tokens(2, 9))
    loss.backward()
    assert loss.isfinite()
    with torch.autocast("cpu", torch.bfloat16):
        wide = adapted()
        assert wide(tokens(2, 9)).dtype == torch.bfloat16


def test_merging_keeps_the_digits_of_double_precision():
    layer = nn.Linear(3, 3).double()
    before = layer.weight.clone()
    model = apply_lora(nn.Sequential(layer), rank=1, alpha=1, target_modules=["0"])  # B is zero
    merge_lora(model)
    assert torch.equal(layer.weight, before)


def test_qlora_trains_only_adapters_and_does_not_merge():
    torch.manual_seed(0)
    model = apply_lora(quantize_model(build(CONFIG), ALL), rank=2, alpha=2, target_modules=ALL)
    train_a_bit(model)
    next_token_loss(model, tokens(2, 9)).backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match="dequantize_model"):
        merge_lora(model)


def test_an_adapter_on_4_bit_weights_does_not_merge():
    layer = Q4Linear(*quantize_q4(torch.randn(8, 32)))
    model = apply_lora(nn.Sequential(layer), rank=2, alpha=2, target_modules=["0"])
    with pytest.raises(ValueError, match="4 bits"):
        merge_lora(model)
    assert remove_lora(model)[0] is layer


def tied():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            build(CONFIG),
            {"target_modules": ["query"]},
            "'query' matches nothing.*a linear layer: down, k_proj",
        ),
        (
            build(CONFIG),
            {"target_modules": []},
            r"target_modules=\[\] names no layer; choose from \['down', 'k_proj'",
        ),
        (build(CONFIG), {"target_modules": ["tokens"]}, "matches Embedding, but"),
        (build(CONFIG), {"target_modules": ["q_proj"], "rank": 25}, "rank=25 must be between 1 and 24"),
        (build(CONFIG), {"target_modules": ["q_proj"], "rank": 0}, "rank=0"),
        (build(CONFIG), {"target_modules": ["q_proj"], "alpha": 0}, "alpha=0"),
        (build(CONFIG), {"target_modules": ["q_proj"], "dropout": 1.0}, "dropout=1.0"),
        (build(CONFIG), {"target_modules": ["q_proj"], "adapter_name": "a.b"}, "'a.b'"),
        (tied(), {"target_modules": ["1"]}, "'1' is tied"),
    ],
)
def test_refusals(model, options, message):
    with pytest.raises(ValueError, match=message):
        apply_lora(model, **{"rank": 2, "alpha": 2, **options})
    assert not adapter_names(model)


def test_refusals_while_merged():
    model = adapted()
    with pytest.raises(ValueError, match="no adapter is merged"):
        unmerge_lora(model)
    with pytest.raises(ValueError, match="taken"):
        apply_lora(model, rank=2, alpha=1, target_modules=ALL)
    merge_lora(model)
    for action in (
        lambda: merge_lora(model),
        lambda: set_adapter(model, None),
        lambda: apply_lora(model, rank=2, alpha=1, target_modules=ALL, adapter_name="second"),
    ):
        with pytest.raises(ValueError, match="call unmerge_lora first"):
            action()
    unmerge_lora(model)
    set_adapter(model, None)
    with pytest.raises(ValueError, match="no adapter is active"):
        merge_lora(model)


# what PEFT calls a layer, and what we call the same layer
NAMES = {
    "llama": {
        **{f"self_attn.{letter}_proj": f"attention.{letter}_proj" for letter in "qkvo"},
        **{f"mlp.{part}_proj": f"feed_forward.{part}" for part in ("gate", "up", "down")},
    },
    "gpt2": {
        "attn.c_proj": "attention.o_proj",
        "mlp.c_fc": "feed_forward.up",
        "mlp.c_proj": "feed_forward.down",
    },
}


def peft_pair(family, rslora):
    """The same base and the same adapter in PEFT and here."""
    hf, names = hf_model(family), NAMES[family]
    model = apply_lora(from_hf(hf), rank=4, alpha=6, target_modules=list(names.values()), rslora=rslora)
    is_conv = family == "gpt2"
    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=list(names), use_rslora=rslora, fan_in_fan_out=is_conv
    )
    peer = peft.get_peft_model(hf, config)
    blocks = peer.base_model.model.transformer.h if is_conv else peer.base_model.model.model.layers
    pairs = [
        (model.blocks[i].get_submodule(ours), block.get_submodule(theirs))
        for i, block in enumerate(blocks)
        for theirs, ours in names.items()
    ]
    with torch.no_grad():
        for layer, module in pairs:
            module.lora_B["default"].weight.normal_(std=0.1)
            layer.adapters["default"].A.copy_(module.lora_A["default"].weight)
            layer.adapters["default"].B.copy_(module.lora_B["default"].weight)
    return model, peer, pairs


@pytest.mark.parity
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_outputs_gradients_and_merged_weights_of_peft(family, rslora):
    model, peer, pairs = peft_pair(family, rslora)
    ids = tokens(2, 12)
    theirs = peer(ids, labels=ids)
    ours = next_token_loss(model, ids)
    check = {"of": "llmguide.post_training.adapters.lora.apply_lora", "against": "peft.LoraModel"}
    assert_parity(model(ids), theirs.logits, **check, atol=1e-5)
    ours.backward()
    theirs.loss.backward()
    for layer, module in pairs:
        adapter = layer.adapters["default"]
        for mine, yours in ((adapter.A, module.lora_A), (adapter.B, module.lora_B)):
            assert_parity(mine.grad, yours["default"].weight.grad, **check, atol=2e-6)
    merge_lora(model)
    peer.merge_adapter()
    check = {
        "of": "llmguide.post_training.adapters.lora.merge_lora",
        "against": "peft.LoraModel.merge_adapter",
    }
    for layer, module in pairs:
        weight = module.get_base_layer().weight
        assert_parity(layer.base.weight, weight.T if family == "gpt2" else weight, **check, atol=1e-6)
    assert_parity(model(ids), peer(ids).logits, **check, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_update_equals_the_formula(dtype):
    """Values and gradients; in half precision up to its rounding."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"out": (7, 5), "x": (7, 11), "A": (3, 11), "B": (5, 3)}
    results = []
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for update in (add_low_rank, add_low_rank_):
        leaves = {name: tensor.to(dtype).requires_grad_() for name, tensor in tensors.items()}
        result = update(leaves["out"] * 1, leaves["x"], leaves["A"], leaves["B"], 0.3)
        result.float().square().sum().backward()
        results.append([result, *(leaf.grad for leaf in leaves.values())])
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.5, "rtol": 0.05}
    for formula, fused in zip(*results, strict=True):
        torch.testing.assert_close(formula, fused, **tolerance)


@pytest.mark.parametrize(
    "apply", [quantize_model, lambda m, t: apply_lora(m, rank=2, alpha=1, target_modules=t)]
)
def test_one_rule_for_targets(apply):
    """A string is one target, and dotted suffixes match, for adapters and for quantization alike."""

    def changed(targets):
        model = apply(build(CONFIG), targets)
        return {p for p, m in model.named_modules() if isinstance(m, QuantizedLinear | LoRALinear)}

    everywhere = changed("q_proj")
    assert len(everywhere) == CONFIG.n_layers
    assert everywhere == changed(["q_proj"])
    assert changed("blocks.0.attention.q_proj") == {"blocks.0.attention.q_proj"} < everywhere
