import json

import pytest
import torch

from llmguide.config.model_config import ModelConfig
from llmguide.generation.sampling import Sampler
from llmguide.models import build
from llmguide.projects.code_assistant.code import Cursor
from llmguide.projects.code_assistant.pretrained import (
    Healing,
    beginning_with,
    continue_lines,
    main,
    open_byte_level,
)
from llmguide.projects.pretrained import open_pretrained
from llmguide.runs.folder import save_run
from llmguide.tokenization.tokenizer import Tokenizer

TEXT = "value = self.name\n"


def cursors(*places):
    text = TEXT * 3
    start = text.rindex("value")
    return [Cursor(text, start + at, text[start + at : -1]) for at in places]


def test_a_line_is_completed_before_and_after_spaces(base):
    asked = cursors(5, 6, 8)  # before and after spaces
    _, tokenizer = open_pretrained(base)
    whole, cut = tokenizer.encode(TEXT), tokenizer.encode(TEXT[:6])
    assert cut != whole[: len(cut)]  # the space belongs to a token of the rest
    assert continue_lines(*open_byte_level(base), asked, 24) == [cursor.rest for cursor in asked]


def test_only_the_context_is_read(base, monkeypatch):
    prompts = []
    monkeypatch.setattr(
        "llmguide.projects.code_assistant.pretrained.complete",
        lambda model, rows, *_, **__: prompts.extend(rows) or [""] * len(rows),
    )
    continue_lines(*open_byte_level(base), cursors(10), 5)
    assert [len(row) for row in prompts] == [4]  # the last token is removed


def test_tokens_that_begin_with_a_token(base):
    _, tokenizer = open_pretrained(base)
    [token] = tokenizer.encode("n")
    texts = {tokenizer.decode([i]) for i in beginning_with(tokenizer, token)}
    assert "n" in texts
    assert all(text.startswith("n") for text in texts)


def test_only_the_first_token_is_healed():
    logits = torch.tensor([[0.0, 3.0, 2.0], [5.0, 0.0, 1.0]])
    sampler = Healing([[0, 2], [1]], 4, Sampler(temperature=0))
    assert sampler(logits, torch.zeros(2, 4, dtype=torch.long), None).tolist() == [2, 1]
    assert sampler(logits, torch.zeros(2, 5, dtype=torch.long), None).tolist() == [1, 0]


def test_the_model_and_the_baselines_complete_the_same_lines(base, tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    for i in range(40):
        (tmp_path / "code" / f"module_{i}.py").write_text(TEXT * 6)
    command = ["pretrained", str(base), str(tmp_path / "record.json"), "--corpus", str(tmp_path / "code")]
    monkeypatch.setattr("sys.argv", [*command, "--context", "24", "--n-lines", "8"])
    main()
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["command"].endswith("--context 24 --n-lines 8")
    found = record["results"]
    similar = {system: found["lines"][system]["similarity"] for system in ("pretrained", "search", "usual")}
    assert similar["search"] == 1
    for other in ("search", "usual"):
        assert found["gains"][other]["score"] == pytest.approx(similar["pretrained"] - similar[other])
    assert len(found["samples"]) == 6


def test_a_model_with_another_tokenizer_is_refused(tmp_path):
    tokenizer = Tokenizer.train(TEXT, 265, special_tokens=["<|endoftext|>"])
    config = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=8, n_layers=1, d_model=8, n_heads=1)
    save_run(tmp_path, build(config), tokenizer)
    with pytest.raises(ValueError, match="no tokenizer of transformers"):
        open_byte_level(tmp_path)
