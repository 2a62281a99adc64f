"""Programs that mix the public names with objects of transformers, PEFT and torch's data loading."""

import peft
import pytest
import tokenizers
import torch
import transformers
from torch.utils.data import DataLoader

from llmguide import (
    ModelConfig,
    TrainConfig,
    apply_lora,
    bits_per_byte,
    build,
    from_hf,
    generate,
    perplexity,
    to_hf,
    train,
)
from llmguide.post_training.adapters.peft_files import save_adapter

TEXT = "the cat sat on the mat. the dog sat on the log. " * 40


@pytest.fixture(scope="module")
def tokenizer():
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([TEXT], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.fixture(scope="module")
def ids(tokenizer):
    return torch.tensor(tokenizer(TEXT)["input_ids"])


@pytest.fixture(scope="module")
def model(tokenizer, ids):
    """A model trained on text of a tokenizer of transformers, in batches of a data loader."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=len(tokenizer), context_length=32, n_layers=1, d_model=32, n_heads=2, positions="rope",
        norm="rmsnorm", activation="swiglu", bias=False,
    )  # fmt: skip
    made = build(config)
    rows = [{"input_ids": row} for row in ids.unfold(0, 17, 16)]
    loader = DataLoader(rows, batch_size=4, shuffle=True)
    result = train(made, loader, TrainConfig(n_steps=30, batch_size=4, lr=1e-2))
    assert result.loss < 0.7 * result.history[0].loss
    return made.eval()


def train_with_trainer(hf_model, ids, folder):
    """Return the losses of a few steps of transformers.Trainer on rows of token ids."""
    arguments = transformers.TrainingArguments(
        str(folder), max_steps=6, per_device_train_batch_size=4, learning_rate=1e-2, use_cpu=True,
        report_to=[], save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    rows = [{"input_ids": row, "labels": row} for row in ids.unfold(0, 16, 16).flip(1)]  # unlike the text
    trainer = transformers.Trainer(hf_model, arguments, train_dataset=rows)
    trainer.train()
    return [step["loss"] for step in trainer.state.log_history if "loss" in step]


def test_the_text_is_continued_and_scored(model, tokenizer, ids):
    prompt = ids[None, :4]
    greedy = generate(model, prompt, 8, sampler=lambda logits, seen, generator: logits.argmax(-1))
    assert torch.equal(greedy, generate(model, prompt, 8, temperature=0))
    assert tokenizer.decode(greedy[0]).startswith("the cat")
    assert 1 < perplexity(model, ids) < len(tokenizer)
    assert 0 < bits_per_byte(model, tokenizer, [TEXT], bos_id=int(ids[-1])) < 8


def test_the_trainer_of_transformers_trains_a_model_of_ours(model, ids, tmp_path):
    hf_model = to_hf(model)
    losses = train_with_trainer(hf_model, ids, tmp_path)
    assert losses[-1] < losses[0]
    back = from_hf(hf_model)
    assert not torch.allclose(back(ids[None, :8]), model(ids[None, :8]), atol=1e-2)
    torch.testing.assert_close(back(ids[None, :8]), hf_model(ids[None, :8]).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("library", ["peft", "ours"])
def test_lora_trains_inside_the_trainer_and_opens_in_peft(library, model, ids, tmp_path):
    hf_model = to_hf(model)
    if library == "peft":
        hf_model = peft.get_peft_model(hf_model, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    else:
        apply_lora(hf_model, rank=2, alpha=8.0, target_modules=["q_proj", "v_proj"])
    losses = train_with_trainer(hf_model, ids, tmp_path)
    assert losses[-1] < losses[0]
    if library == "peft":
        hf_model.save_pretrained(tmp_path / "adapter")
    else:
        save_adapter(hf_model, tmp_path / "adapter")
    opened = peft.PeftModel.from_pretrained(to_hf(model), tmp_path / "adapter").eval()
    with torch.no_grad():
        logits = opened(ids[None, :8]).logits
        torch.testing.assert_close(logits, hf_model.eval()(ids[None, :8]).logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            from_hf(opened.merge_and_unload())(ids[None, :8]), logits, rtol=0, atol=1e-5
        )
        assert not torch.allclose(logits, model(ids[None, :8]), atol=1e-2)
