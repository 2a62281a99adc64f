"""Adapters cross to PEFT and back with the same outputs, for every family; what cannot cross is named."""

import copy
import json
import sys
from dataclasses import replace

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.test_models import tokens
from tests.models.tiny import hf_model
from tests.parity import assert_parity
from tests.runtime.small_q4 import CONFIG, small_model
from torch import nn

from llmguide.models import build, from_hf, to_hf
from llmguide.post_training.adapters.lora import adapter_state, apply_lora, lora_layers, set_adapter
from llmguide.post_training.adapters.peft_files import load_adapter, save_adapter

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
TO_PEFT = {
    "llama": [*ATTENTION, "gate", "up", "down", "head"],
    "mistral": ["q_proj", "v_proj"],
    "mixtral": ATTENTION,
    "qwen2": [*ATTENTION, "up"],
    "gpt2": [*ATTENTION, "up", "down"],
    "gpt2-untied": ["q_proj", "v_proj", "head"],
    "bloom": ["k_proj", "v_proj", "up"],
}
FROM_PEFT = {
    "llama": {"target_modules": "all-linear"},
    "llama-biases": {"target_modules": ["q_proj", "down_proj"], "rank_pattern": {"down_proj": 3}},
    "mistral": {"target_modules": ["q_proj", "o_proj"], "alpha_pattern": {"layers.1.self_attn.o_proj": 11}},
    "gpt2": {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True},
    "bloom": {"target_modules": ["query_key_value", "dense"]},
}


def trained(hf, targets, *, rslora=False, rank=2):
    model = apply_lora(from_hf(hf), rank=rank, alpha=6, target_modules=targets, rslora=rslora)
    for _, layer in lora_layers(model):
        nn.init.normal_(layer.adapters["default"].B, std=0.1)
    return model


@pytest.mark.parity
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("family", TO_PEFT)
def test_to_peft_and_back(family, rslora, tmp_path, recwarn):
    hf, ids = hf_model(family), tokens(2, 12)
    model = trained(hf, TO_PEFT[family], rslora=rslora)
    save_adapter(model, tmp_path)
    again = from_hf(hf)
    load_adapter(again, tmp_path)
    assert adapter_state(again).keys() == adapter_state(model).keys()
    for name, tensor in adapter_state(model).items():
        assert adapter_state(again)[name].equal(tensor)
    torch.testing.assert_close(again(ids), model(ids), atol=2e-6, rtol=1e-5)  # alpha x 3 / 3
    peer = peft.PeftModel.from_pretrained(hf, tmp_path)
    assert not [str(w.message) for w in recwarn if "adapter" in str(w.message)]
    assert_parity(
        model(ids),
        peer(ids).logits,
        of="llmguide.post_training.adapters.peft_files.save_adapter",
        against="peft.PeftModel.from_pretrained",
        atol=1e-5,
    )


@pytest.mark.parity
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("family", FROM_PEFT)
def test_from_peft(family, rslora, tmp_path):
    hf, ids = hf_model(family), tokens(2, 12)
    model = from_hf(hf)
    config = peft.LoraConfig(r=4, lora_alpha=6, use_rslora=rslora, **FROM_PEFT[family])
    peer = peft.get_peft_model(hf, config)
    for name, parameter in peer.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    peer.save_pretrained(tmp_path)
    load_adapter(model, tmp_path, name="french")
    assert all(".adapters.french." in name for name, p in model.named_parameters() if p.requires_grad)
    assert_parity(
        model(ids),
        peer(ids).logits,
        of="llmguide.post_training.adapters.peft_files.load_adapter",
        against="peft.PeftModel.save_pretrained",
        atol=1e-5,
    )
    set_adapter(model, None)
    with peer.disable_adapter():
        torch.testing.assert_close(model(ids), peer(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("family", ["llama", "gpt2-untied"])
def test_an_adapted_head_brings_its_base(family, tmp_path):
    """PEFT saves the frozen weight of a head beside its adapter; another one is refused."""
    hf, ids = hf_model(family), tokens(2, 12)
    model, other = from_hf(hf), from_hf(hf)
    peer = peft.get_peft_model(hf, peft.LoraConfig(r=2, target_modules=["lm_head"]))
    nn.init.normal_(peer.base_model.model.lm_head.lora_B["default"].weight)
    peer.save_pretrained(tmp_path)
    assert any("base_layer" in key for key in load_file(tmp_path / "adapter_model.safetensors"))
    load_adapter(model, tmp_path)
    torch.testing.assert_close(model(ids), peer(ids).logits, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        other.head.weight[0, 0] += 1
    with pytest.raises(ValueError, match="is not the weight of this model"):
        load_adapter(other, tmp_path)


@pytest.mark.parametrize("damage", ["no folder", "no weights", "cut", "config {", "config {}", "config []"])
def test_damaged_files_are_refused(damage, tmp_path):
    save_adapter(trained(hf_model("llama"), ["q_proj"]), tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    if damage == "no weights":
        weights.unlink()
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    if damage.startswith("config"):
        (tmp_path / "adapter_config.json").write_text(damage.removeprefix("config "))
    with pytest.raises(ValueError, match="holds no adapter, or a damaged one"):
        load_adapter(from_hf(hf_model("llama")), tmp_path / "x" if damage == "no folder" else tmp_path)


def test_fused_layer_by_hand(tmp_path):
    """Two of three parts, rank 1 each: one adapter of rank 2, whose B has the middle rows at zero."""
    model = trained(hf_model("gpt2"), ["blocks.0.attention.q_proj", "blocks.0.attention.v_proj"], rank=1)
    save_adapter(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["fan_in_fan_out"]) == (2, 12, True)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    prefix = "base_model.model.transformer.h.0.attn.c_attn"
    assert tensors.keys() == {f"{prefix}.lora_A.weight", f"{prefix}.lora_B.weight"}
    q, v = (model.blocks[0].attention.get_submodule(f"{x}_proj").adapters["default"] for x in "qv")
    zero = torch.zeros(24, 1)
    expected = torch.cat([torch.cat([q.B, zero], 1), torch.cat([zero, zero], 1), torch.cat([zero, v.B], 1)])
    assert tensors[f"{prefix}.lora_A.weight"].equal(torch.cat([q.A, v.A]))
    assert tensors[f"{prefix}.lora_B.weight"].equal(expected)


def test_untrained_fused_layer_keeps_its_rank(tmp_path):
    hf = hf_model("gpt2")
    config = peft.LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True)
    model = from_hf(hf)
    peft.get_peft_model(hf, config).save_pretrained(tmp_path)
    load_adapter(model, tmp_path)
    assert {layer.adapters["default"].rank for _, layer in lora_layers(model)} == {4}


@pytest.mark.parametrize("target", ["up", "router"])
def test_experts_are_refused(target, tmp_path):
    with pytest.raises(ValueError, match="is not a linear layer in transformers"):
        save_adapter(trained(hf_model("mixtral"), [target]), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
    ],
)
def test_other_kinds_are_refused(change, message, tmp_path):
    model = trained(hf_model("llama"), ["q_proj"])
    save_adapter(model, tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_adapter(from_hf(hf_model("llama")), tmp_path)


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    model = trained(hf_model("llama"), ["q_proj"])
    save_adapter(model, tmp_path)
    wide = replace(model.config, d_model=48, head_dim=8)
    with pytest.raises(ValueError, match=r"self_attn.q_proj.weight: A \(2, 24\) and B \(24, 2\) do not fit"):
        load_adapter(build(wide), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    first = next(iter(tensors))
    save_file({k: v for k, v in tensors.items() if k != first}, path)
    with pytest.raises(ValueError, match="some A or B is missing"):
        load_adapter(from_hf(hf_model("llama")), tmp_path)
    save_file({**tensors, "base_model.model.lm_head.lora_embedding_A": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match="lora_embedding_A"):
        load_adapter(from_hf(hf_model("llama")), tmp_path)


def test_models_of_transformers_are_left_to_peft(tmp_path):
    model = apply_lora(hf_model("llama"), rank=2, alpha=2, target_modules=["q_proj"])
    save_adapter(model, tmp_path)
    with pytest.raises(TypeError, match=r"PeftModel\.from_pretrained"):
        load_adapter(model, tmp_path, name="again")


def test_missing_name(tmp_path):
    with pytest.raises(ValueError, match="no adapter is named 'other'; there are \\['default'\\]"):
        save_adapter(trained(hf_model("llama"), ["q_proj"]), tmp_path, name="other")


@pytest.mark.parity
def test_an_adapter_of_a_model_of_transformers_is_saved_too(tmp_path):
    hf, ids = hf_model("llama"), tokens(2, 12)
    base = copy.deepcopy(hf)
    apply_lora(hf, rank=2, alpha=6, target_modules="q_proj")
    for _, layer in lora_layers(hf):
        nn.init.normal_(layer.adapters["default"].B, std=0.1)
    save_adapter(hf, tmp_path, base="owner/name")
    ours = from_hf(base)
    load_adapter(ours, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "owner/name"
    assert config["target_modules"] == ["q_proj"]
    adapted = hf(ids).logits
    torch.testing.assert_close(ours(ids), adapted, rtol=0, atol=1e-5)
    assert_parity(
        adapted,
        peft.PeftModel.from_pretrained(base, tmp_path)(ids).logits,
        of="llmguide.post_training.adapters.peft_files.save_adapter",
        against="peft.PeftModel.from_pretrained",
        atol=1e-5,
    )


@pytest.mark.parity
def test_an_adapter_on_4_bit_weights_is_saved_without_any_library(tmp_path, monkeypatch):
    model = small_model()
    dense = build(CONFIG)  # whose weights transformers can hold
    names = [name.removesuffix(".weight") for name, _ in dense.named_parameters()]
    layers = {name: model.get_submodule(name) for name in names}
    state = {f"{name}.weight": getattr(layer, "base", layer).weight for name, layer in layers.items()}
    dense.load_state_dict(state)
    hf = to_hf(dense)
    with monkeypatch.context() as patch:
        for missing in ("transformers", "safetensors", "safetensors.torch"):
            patch.setitem(sys.modules, missing, None)  # as in the tab
        save_adapter(model, tmp_path)
    ids = tokens(2, 12)
    peer = peft.PeftModel.from_pretrained(hf, tmp_path)
    with torch.no_grad():
        assert (hf(ids).logits - model(ids)).abs().max() < 1e-5
        with peer.disable_adapter():
            assert (peer(ids).logits - model(ids)).abs().max() > 0.1
        assert_parity(
            model(ids),
            peer(ids).logits,
            of="llmguide.post_training.adapters.peft_files.save_adapter",
            against="peft.PeftModel.from_pretrained",
            atol=1e-5,
        )
