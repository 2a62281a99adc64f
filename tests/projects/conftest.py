import json
import shutil

import pytest
import torch

TEXT = "value = self.name\n"


@pytest.fixture
def killed():
    """Copies a finished run as if it had been killed during a stage: an earlier checkpoint, no result."""

    def kill(folder, copy, stage):
        shutil.copytree(folder, copy)
        (copy / "record.json").unlink()
        for later in (copy / "stages").glob("*.json"):
            if later.stat().st_mtime_ns >= (folder / "stages" / f"{stage}.json").stat().st_mtime_ns:
                later.unlink()
        return copy

    return kill


@pytest.fixture
def results():
    """Reads what a run recorded."""
    return lambda folder: json.loads((folder / "record.json").read_text())["results"]


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A tiny model of transformers that was trained on one line."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("base")
    learned = tokenizers.ByteLevelBPETokenizer()
    learned.train_from_iterator(
        [TEXT] * 50, vocab_size=280, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=learned._tokenizer, eos_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=280,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    ids = torch.tensor([tokenizer.encode(TEXT * 4)])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder
