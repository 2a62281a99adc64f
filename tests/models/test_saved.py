"""Models in folders: what `save` writes, `load` opens, whatever wrote the folder."""

import json
from dataclasses import replace

import pytest
import torch

import llmguide
from llmguide import ModelConfig, build, load, save, to_hf
from llmguide.models.saved import is_saved
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


def test_other_folders_are_told_apart(tmp_path):
    assert not is_saved(tmp_path)
    for content in ("{", "[]", json.dumps({"model_type": "gpt2"})):
        (tmp_path / "config.json").write_text(content)
        assert not is_saved(tmp_path)
