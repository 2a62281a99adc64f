"""Whatever a user calls a model by, it is opened as the same model."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

import llmguide
from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.post_training.chat import END, START
from llmguide.runs import resolve
from llmguide.runs.chat_model import open_chat
from llmguide.runs.folder import load_run, save_run
from llmguide.runs.options import ModelSource
from llmguide.runs.resolve import locate, open_model
from llmguide.tokenization.huggingface import to_hf_tokenizer
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import checkpoint

IDS = torch.tensor([[7, 50, 3, 200]])
SIZES = {"context_length": 64, "n_layers": 1, "d_model": 16, "n_heads": 2}
LORA = ["--lora-rank", "2", "--lr", "0.05", "--n-steps", "6", "--checkpoint-every", "2"]


def logits(name):
    model, _ = open_model(name)
    with torch.no_grad():
        return model(IDS)


def newest(run):
    return checkpoint.checkpoints(run / "checkpoints")[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "talks.jsonl"
    rows = [{"prompt": f"What is {i} plus 1?", "completion": f"It is {i + 1}."} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def save_base(folder, kind):
    """A small base model with the control tokens of a chat, in our format or that of transformers."""
    torch.manual_seed(1)
    tokenizer = Tokenizer.train("what is it plus 1? " * 9, 267, special_tokens=["<|endoftext|>", START, END])
    if kind == "ours":
        sizes = {"vocab_size": tokenizer.vocab_size, "activation": "gelu_tanh", **SIZES}
        save_run(folder, build(ModelConfig(**sizes)), tokenizer)
    else:
        config = transformers.LlamaConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
        )
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        to_hf_tokenizer(tokenizer, eos="<|endoftext|>").save_pretrained(folder)


@pytest.fixture(scope="module", params=["ours", "transformers"])
def tuned(request, data, tmp_path_factory):
    """A base model, and a LoRA run that continues from it."""
    folder = tmp_path_factory.mktemp(request.param)
    save_base(folder / "base", request.param)
    args = ["sft", "--data", str(data), "--model", str(folder / "base"), "--output", str(folder / "run")]
    assert main([*args, *LORA]) == 0
    return folder


def test_an_adapter_a_checkpoint_and_the_run_are_one_model(tuned):
    run = tuned / "run"
    whole = logits(run)
    assert not torch.allclose(whole, logits(tuned / "base"), atol=1e-3)
    for name in (run / "adapter", newest(run), run / "checkpoints"):
        torch.testing.assert_close(logits(name), whole, rtol=0, atol=1e-6)
        torch.testing.assert_close(llmguide.load(name)(IDS), whole, rtol=0, atol=1e-6)
        chat = open_chat(ModelSource(str(name)), [], seed=0)
        assert chat.decode([*chat.tokenizer.encode("it"), chat.end_id]) == "it"
    first = checkpoint.checkpoints(run / "checkpoints")[-1]
    assert not torch.allclose(logits(first), whole, atol=1e-4)


def test_a_checkpoint_can_be_opened_from_another_folder(tuned, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tuned)
    args = ["--data", str(data), "--model", "base", "--output", str(tmp_path / "run"), *LORA]
    assert main(["sft", *args]) == 0
    monkeypatch.chdir(tmp_path)
    torch.testing.assert_close(logits("run/checkpoints"), logits("run"), rtol=0, atol=1e-6)


def test_a_checkpoint_holds_the_adapter_and_its_optimizer_only(tuned):
    state = checkpoint.load(newest(tuned / "run"))
    assert {name.rpartition(".")[2] for name in state["model"]} == {"A", "B"}
    assert state["optimizer"].keys() == state["model"].keys()
    size = sum(tensor.numel() for tensor in state["model"].values())
    assert size < sum(p.numel() for p in llmguide.load(tuned / "base").parameters()) / 10


@pytest.mark.parametrize("more", [[], ["--quantize", "nf4"]], ids=["lora", "qlora"])
def test_a_checkpoint_of_a_bfloat16_base_is_the_run(more, data, tmp_path):
    save_base(tmp_path / "base", "transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model.bfloat16().save_pretrained(tmp_path / "base")
    args = ["--data", str(data), "--model", str(tmp_path / "base"), "--output", str(tmp_path / "run")]
    assert main(["sft", *args, *LORA, *more]) == 0
    whole, found = (llmguide.load(tmp_path / "run" / place)(IDS) for place in ("", "checkpoints"))
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-6)


def test_a_lora_run_that_was_killed_ends_as_if_it_had_not_been(tuned, data, tmp_path):
    again = shutil.copytree(tuned / "run", tmp_path / "run")
    newest(again).unlink()
    newest(again).unlink()
    (again / "model.safetensors").unlink()
    args = ["--data", str(data), "--model", str(tuned / "base"), "--output", str(again)]
    assert main(["sft", *args, *LORA]) == 0
    for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
        one, other = load_file(tuned / "run" / file), load_file(again / file)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_changed_base_is_noticed(data, tmp_path, capsys):
    save_base(tmp_path / "base", "ours")
    args = ["--data", str(data), "--model", str(tmp_path / "base"), "--output", str(tmp_path / "run")]
    assert main(["sft", *args, *LORA]) == 0
    model, tokenizer = load_run(tmp_path / "base")
    with torch.no_grad():
        model.tokens.weight.mul_(2)
    save_run(tmp_path / "base", model, tokenizer)
    assert main(["sft", *args, *LORA]) == 1
    assert "continues from other frozen weights than the model has" in capsys.readouterr().err


def test_commands_take_an_adapter(tuned, data, tmp_path, capsys):
    adapter = str(tuned / "run" / "adapter")
    assert main(["generate", adapter, "it", "--temperature", "0", "--max-new-tokens", "3"]) == 0
    shown = capsys.readouterr().out
    assert main(["generate", str(tuned / "run"), "it", "--temperature", "0", "--max-new-tokens", "3"]) == 0
    assert shown == capsys.readouterr().out
    output = tmp_path / "next"
    args = ["--data", str(data), "--model", adapter, "--output", str(output)]
    assert main(["sft", *args, "--n-steps", "1", "--lora-rank", "1"]) == 0
    assert json.loads((output / "adapter" / "adapter_config.json").read_text())[
        "base_model_name_or_path"
    ] == str((tuned / "run" / "adapter").resolve())
    torch.testing.assert_close(logits(output / "adapter"), logits(output), rtol=0, atol=1e-6)


def test_the_checkpoint_of_a_new_model_can_be_opened_while_it_trains(data, tmp_path, capsys):
    run = tmp_path / "run"
    sizes = ["--n-layers", "1", "--d-model", "16", "--n-heads", "2", "--vocab-size", "300"]
    assert main(["sft", "--data", str(data), "--output", str(run), *sizes, "--n-steps", "2"]) == 0
    whole = logits(run)
    for file in ("model.safetensors", "config.json"):
        (run / file).unlink()
    torch.testing.assert_close(logits(run / "checkpoints"), whole, rtol=0, atol=0)
    assert {START, END} <= open_model(newest(run))[1].special_tokens.keys()
    assert main(["chat", str(run)]) == 1
    message = capsys.readouterr().err
    assert f"{run} has no finished model" in message
    assert str(newest(run)) in message


def test_a_misspelled_packaged_model_is_not_looked_up_on_the_hub(monkeypatch):
    monkeypatch.setattr(resolve, "fetch_model", lambda name: pytest.fail(f"{name} was looked up"))
    for name in ("smollm2-135m-instrct", "SmolLM2-135M-Instruct", "smollm2-135m"):
        with pytest.raises(ValueError, match=f"no model {name}; did you mean smollm2-135m-instruct?"):
            locate(name)
    monkeypatch.setattr(resolve, "fetch_model", Path)
    for name in ("gpt2", "HuggingFaceTB/SmolLM2-135M-Instruct"):
        assert locate(name) == Path(name)


def test_what_cannot_be_opened_says_what_to_do(tuned, tmp_path):
    def message(name):
        with pytest.raises(ValueError) as error:
            locate(name)
        return str(error.value)

    assert message(tmp_path).startswith(f"{tmp_path} has no finished model, adapter or checkpoint")
    assert f"did you mean {tuned / 'base'}?" in message(tuned / "bse")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert "is a file; give the folder of a model" in message(tmp_path / "model.gguf")
    adapter = shutil.copytree(tuned / "run" / "adapter", tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    for base, expected in ((None, "names no base model"), (str(tmp_path / "gone"), "gone does not exist")):
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
        with pytest.raises(ValueError, match=re.escape(expected)):
            open_model(adapter)
