import json
from dataclasses import replace

import pytest
import torch

from llmguide.commands.runs import is_run, load_run, n_params, save_run
from llmguide.config import LinearScaling, Llama3Scaling, ModelConfig
from llmguide.models import build
from llmguide.tokenizer import Tokenizer

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
    assert not is_run(tmp_path)
    for content in ("{", "[]", json.dumps({"model_type": "gpt2"})):
        (tmp_path / "config.json").write_text(content)
        assert not is_run(tmp_path)
    with pytest.raises(ValueError, match="holds no finished model"):
        load_run(tmp_path)
