import json
from dataclasses import replace

import pytest
import torch

from llmguide.config.model_config import ModelConfig
from llmguide.config.rope_scaling import DynamicScaling, LinearScaling, Llama3Scaling, LongRopeScaling
from llmguide.models import build
from llmguide.models.saved import is_saved
from llmguide.runs.folder import claim, load_run, n_params, save_run
from llmguide.runs.provenance import digest
from llmguide.tokenization.tokenizer import Tokenizer

TINY = ModelConfig(vocab_size=258, context_length=8, n_layers=1, d_model=8, n_heads=2)
TOKENIZER = Tokenizer.train("ab ab", 258, special_tokens=["<|endoftext|>"])


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(
            TINY,
            positions="rope",
            norm="rmsnorm",
            activation="swiglu",
            bias=False,
            qkv_bias=False,
            tie_embeddings=False,
        ),
        replace(TINY, positions="rope", rope_scaling=LinearScaling(2.0)),
        replace(TINY, positions="rope", rope_scaling=DynamicScaling(2.0, 4)),
        replace(TINY, positions="rope", rope_scaling=LongRopeScaling([1.0, 2.0], [3.0, 4.0], 4, 1.1)),
        replace(TINY, positions="rope", rope_scaling=Llama3Scaling(8.0, 1.0, 4.0, 8)),
        replace(TINY, n_experts=4, n_experts_per_token=2),
    ],
)
def test_a_model_comes_back_as_it_was(tmp_path, config):
    model = build(config).eval()
    save_run(tmp_path, model, TOKENIZER)
    found, tokenizer = load_run(tmp_path)
    ids = torch.tensor([[1, 2, 3]])
    assert found.config == config
    assert not found.training
    assert torch.equal(found(ids), model(ids))
    assert tokenizer.encode("ab") == TOKENIZER.encode("ab")
    assert n_params(found) == config.n_params()


def test_other_folders_are_told_apart(tmp_path):
    assert not is_saved(tmp_path)
    for content in ("{", "[]", json.dumps({"model_type": "gpt2"})):
        (tmp_path / "config.json").write_text(content)
        assert not is_saved(tmp_path)
    with pytest.raises(ValueError, match="has no finished model"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"truncated"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"d_model": 8', '"d_model": 16')
        ),
        lambda folder: (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace("d_model", "width")
        ),
    ],
)
def test_a_damaged_model_is_refused(tmp_path, damage):
    save_run(tmp_path, build(TINY), TOKENIZER)
    damage(tmp_path)
    with pytest.raises(ValueError, match="holds a damaged model"):
        load_run(tmp_path)


def test_other_data_are_named_unless_another_option_selects_them(tmp_path):
    run = {"data": "vader", "seed": 0, "data_sha256": digest("ab")}
    claim(tmp_path, run)
    (tmp_path / "metrics.jsonl").write_text("")
    claim(tmp_path, run | {"data_sha256": digest(["a", "b"])})
    with pytest.raises(ValueError, match="has a run on other data: vader has changed since then"):
        claim(tmp_path, run | {"data_sha256": digest(["ab"])})
    with pytest.raises(ValueError, match=r"has a run with other seed=1 \(was 0\); give another"):
        claim(tmp_path, run | {"seed": 1, "data_sha256": digest("ba")})


def test_a_path_is_the_same_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    claim(tmp_path, {"corpus": "books", "vocab_size": 300})
    (tmp_path / "metrics.jsonl").write_text("")
    for corpus in ("books/", "./books", str(tmp_path / "books")):
        claim(tmp_path, {"corpus": corpus, "vocab_size": 300})
    with pytest.raises(ValueError, match=r"has a run with other corpus='book' \(was 'books'\)"):
        claim(tmp_path, {"corpus": "book", "vocab_size": 300})


def test_only_the_options_of_a_group_that_differ_are_named(tmp_path):
    claim(tmp_path, {"lora": {"rank": 4, "alpha": 8.0}, "seed": 0})
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"has a run with other rank=2 \(was 4\); give another"):
        claim(tmp_path, {"lora": {"rank": 2, "alpha": 8.0}, "seed": 0})


def test_a_folder_belongs_to_one_run(tmp_path):
    claim(tmp_path, {"width": 9})
    claim(tmp_path, {"width": 8})  # nothing was written since, so the options of the first are forgotten
    (tmp_path / "metrics.jsonl").write_text("")
    claim(tmp_path, {"width": 8})
    with pytest.raises(ValueError, match=r"width=9 \(was 8\)"):
        claim(tmp_path, {"width": 9})
    (tmp_path / "run.json").write_text("")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        claim(tmp_path, {"width": 8})
