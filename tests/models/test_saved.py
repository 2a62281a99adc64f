"""Models in folders: what `save` writes, `load` opens, whatever wrote the folder."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import llmguide
from llmguide import ModelConfig, build, load, save, to_hf
from llmguide.models.saved import is_saved
from llmguide.post_training.adapters.lora import apply_lora, merge_lora, remove_lora
from llmguide.post_training.adapters.quantized_linear import quantize_model
from llmguide.runs import resolve

TINY = ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3)
IDS = torch.tensor([[1, 2, 3]])


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, positions="rope", norm="rmsnorm", activation="swiglu"),
        replace(TINY, architecture="encoder"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_model_comes_back_in_its_dtype(tmp_path, config, dtype):
    model = build(config).to(dtype).eval()
    save(model, tmp_path / "model")
    found = load(tmp_path / "model")
    assert type(found) is type(model)
    assert found.config == config
    assert not found.training
    assert {p.dtype for p in found.parameters()} == {dtype}
    assert torch.equal(found(IDS), model(IDS))
    assert load(tmp_path / "model", dtype=torch.float64)(IDS).dtype == torch.float64


def test_an_encoder_decoder_comes_back(tmp_path):
    model = build(replace(TINY, architecture="encoder-decoder", positions="sinusoidal")).eval()
    save(model, tmp_path)
    assert torch.equal(load(tmp_path)(IDS, IDS), model(IDS, IDS))


def test_a_model_that_build_does_not_make_is_refused(tmp_path):
    encoder = build(replace(TINY, architecture="encoder")).encoder
    with pytest.raises(ValueError, match="bare Encoder cannot be saved"):
        save(encoder, tmp_path)


def adapted(model):
    apply_lora(model, rank=2, alpha=4, target_modules="q_proj")
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    return model


def save_hf(model, folder):
    to_hf(model).save_pretrained(folder)


CHANGES = {
    "adapters": adapted,
    "merged adapters": lambda model: merge_lora(adapted(model)),
    "quantized layers": lambda model: quantize_model(model, "q_proj"),
    "a head with a bias": lambda model: setattr(model, "head", torch.nn.Linear(12, 11)) or model,
}


@pytest.mark.parametrize("write", [save, save_hf])
@pytest.mark.parametrize("change", CHANGES)
def test_what_could_not_be_opened_is_not_written(tmp_path, change, write):
    model = CHANGES[change](build(TINY))
    with pytest.raises(ValueError, match="merge_lora and remove_lora"):
        write(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("write", [save, save_hf])
def test_a_merged_model_without_its_adapters_comes_back(tmp_path, write):
    model = adapted(build(replace(TINY, activation="gelu_tanh"))).eval()
    expected = model(IDS)
    write(remove_lora(merge_lora(model)), tmp_path)
    torch.testing.assert_close(load(tmp_path)(IDS), expected, atol=1e-5, rtol=1e-5)


def test_a_loaded_model_can_be_saved_over_itself(tmp_path):
    save(build(TINY), tmp_path)
    model = load(tmp_path)
    before = model(IDS)
    save(model, tmp_path)
    assert torch.equal(load(tmp_path)(IDS), before)


def test_one_load_opens_every_kind(tmp_path, monkeypatch):
    model = build(TINY).eval()
    save(model, tmp_path / "ours")
    to_hf(model).save_pretrained(tmp_path / "theirs")
    monkeypatch.setattr(resolve, "unpacked", lambda name: tmp_path / "theirs")
    for place in (tmp_path / "ours", str(tmp_path / "theirs"), "smollm2-135m-instruct"):
        torch.testing.assert_close(llmguide.load(place)(IDS), model(IDS))


def test_a_byte_that_changes_is_noticed(tmp_path):
    save(build(TINY), tmp_path)
    path = tmp_path / "model.safetensors"
    intact = path.read_bytes()
    start = 8 + int.from_bytes(intact[:8], "little")  # of the tensors
    for place in (start, (start + len(intact)) // 2, len(intact) - 1):
        path.write_bytes(intact[:place] + bytes([intact[place] ^ 1]) + intact[place + 1 :])
        with pytest.raises(ValueError, match=r"the tensors of model\.safetensors are not those"):
            load(tmp_path)


def test_a_file_of_another_program_is_read(tmp_path):
    model = build(TINY).eval()
    save(model, tmp_path)
    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors")
    assert torch.equal(load(tmp_path)(IDS), model(IDS))


def test_other_folders_are_told_apart(tmp_path):
    assert not is_saved(tmp_path)
    for content in ("{", "[]", json.dumps({"model_type": "gpt2"})):
        (tmp_path / "config.json").write_text(content)
        assert not is_saved(tmp_path)
