import json
import re
import subprocess
import sys

import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file
from tests.parity import assert_parity

from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.models import build, to_hf
from llmguide.post_training.toy.frontier import divergence, expected
from llmguide.post_training.toy.world import completion_logprobs, tiny_world
from llmguide.runs.chat_model import open_chat
from llmguide.runs.folder import load_run, save_run
from llmguide.runs.options import STEPS, ModelSource
from llmguide.runs.toy_report import load_policy
from llmguide.tokenization.huggingface import to_hf_tokenizer
from llmguide.tokenization.tokenizer import Tokenizer

SIZES = {"n-layers": 1, "d-model": 16, "n-heads": 2, "vocab-size": 300, "context-length": 64}
SMALL = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
TALKS = [{"prompt": f"What is {i} plus 1?", "completion": f"It is {i + 1}."} for i in range(40)]


def same(one, other):
    one, other = (load_file(folder / "model.safetensors") for folder in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_in_the_tiny_world_it_reports_exactly_where_the_policy_stands(runs, capsys):
    untrained, tuned = json.loads((runs / "sft" / "report.json").read_text())["rows"]
    world = tiny_world()
    with torch.no_grad():
        logprobs = completion_logprobs(load_policy(runs / "sft"), world)
        torch.manual_seed(0)
        start = completion_logprobs(build(world.config).eval(), world)
    assert logprobs.exp().sum(dim=1).tolist() == pytest.approx([1.0] * 4, abs=1e-4)
    assert tuned["gold"] == pytest.approx(expected(logprobs, world.gold).item(), abs=1e-5)
    assert tuned["kl"] == pytest.approx(divergence(logprobs, start).item(), abs=1e-4)
    assert untrained["gold"] < tuned["gold"] < tuned["best_gold"]
    lines = [json.loads(line) for line in (runs / "sft" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(2, 41, 2))
    assert "response_tokens_per_s" in lines[0]
    assert list((runs / "sft" / "logs").glob("events.out.tfevents*"))
    assert main(["generate", str(runs / "sft")]) == 1
    assert "a model without a tokenizer" in capsys.readouterr().err


def test_a_run_in_two_sittings_ends_as_one(tmp_path):
    args = ["sft", "--n-steps", "12", "--checkpoint-every", "4"]
    for name in ("whole", "stopped"):
        assert main([*args, "--output", str(tmp_path / name)]) == 0
    newest = max((tmp_path / "stopped" / "checkpoints").glob("step-*"))
    newest.unlink()
    (tmp_path / "stopped" / "model.safetensors").unlink()
    assert main([*args, "--output", str(tmp_path / "stopped")]) == 0
    assert same(tmp_path / "whole", tmp_path / "stopped")
    assert main([*args, "--output", str(tmp_path / "other"), "--seed", "1"]) == 0
    assert not same(tmp_path / "whole", tmp_path / "other")
    assert main([*args, "--output", str(tmp_path / "other")]) == 1  # a folder keeps to its seed


@pytest.mark.parametrize("more", [[], ["--packed"], ["--lora-rank", "2"]], ids=["plain", "packed", "lora"])
def test_on_conversations_the_held_out_loss_falls(more, tmp_path, written, capsys):
    args = ["--data", written(TALKS), "--output", str(tmp_path / "run"), "--held-out", "0.2"]
    rate = ["--n-steps", "30", "--lr", "0.02"]
    assert main(["sft", *args, *SMALL, *rate, *more]) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["held_out"] < report["held_out_before"] - 0.02
    model, tokenizer = load_run(tmp_path / "run")
    assert model.config.vocab_size == tokenizer.vocab_size
    assert not any("adapters" in name for name in model.state_dict())
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists() == ("--lora-rank" in more)


def test_the_held_out_loss_has_one_precision_before_and_after(tmp_path, written):
    args = ["sft", "--data", written(TALKS), *SMALL, "--held-out", "0.3", "--lr", "1e-30", "--n-steps", "1"]
    assert main([*args, "--precision", "bf16", "--output", str(tmp_path / "run")]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["held_out"] == pytest.approx(report["held_out_before"], abs=1e-6)


def test_what_was_held_out_stays_held_out(tmp_path, written, capsys):
    args = ["sft", "--data", written(TALKS), "--output", str(tmp_path / "run"), *SMALL, "--n-steps", "1"]
    assert main([*args, "--held-out", "0.2"]) == 0
    capsys.readouterr()
    assert main([*args, "--held-out", "0.4"]) == 1
    assert "held_out=0.4 (was 0.2)" in capsys.readouterr().err


def test_conversations_with_one_system_message_are_held_out_too(tmp_path, written, capsys):
    told = [{"role": "system", "content": "Be brief."}]
    rows = [
        {"prompt": [*told, {"role": "user", "content": row["prompt"]}], "completion": row["completion"]}
        for row in TALKS
    ]
    args = ["sft", "--data", written(rows), "--output", str(tmp_path / "run"), *SMALL, "--n-steps", "1"]
    assert main([*args, "--held-out", "0.2"]) == 0
    assert re.search(r"loss per token, \d+ held-out conversations", capsys.readouterr().out)


def test_it_holds_out_one_of_few_and_says_so(tmp_path, written, capsys):
    # the hashes of these prompts are from 0.096 to 0.791 of their range
    args = ["sft", "--data", written([{"prompt": word, "completion": "Yes."} for word in "abcdef"])]
    args += [*SMALL, "--n-steps", "1", "--output", str(tmp_path / "run")]
    assert main([*args, "--held-out", "0.8"]) == 1
    assert "all 6 conversations are held out; give more, or a smaller --held-out" in capsys.readouterr().err
    one = "held out: 1 of the 6 conversations, as --held-out 0.05 is none\n"
    assert main([*args, "--held-out", "0"]) == 0
    assert one not in capsys.readouterr().out
    assert main([*args[:-1], str(tmp_path / "other")]) == 0
    printed = capsys.readouterr().out
    assert one in printed
    assert "loss per token, 1 held-out conversations:" in printed


def test_it_says_that_conversations_with_one_prompt_cannot_be_held_out(tmp_path, written, capsys):
    rows = [{"prompt": "a", "completion": reply} for reply in ("Yes.", "No.")]
    args = ["--data", written(rows), *SMALL, "--n-steps", "1", "--output", str(tmp_path / "run")]
    assert main(["sft", *args]) == 0
    assert (
        "none of the 2 conversations are held out, because all have the same prompt"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("share", ["1", "1.5", "-0.1", "nan"])
def test_no_share_that_leaves_nothing_to_learn(share, tmp_path, written, capsys):
    args = ["--data", written(TALKS), "--output", str(tmp_path / "run"), *SMALL]
    assert main(["sft", *args, "--held-out", share]) == 1
    assert "is a fraction: at least 0 and below 1" in capsys.readouterr().err


def test_a_pretrained_run_gets_the_tokens_of_a_chat(tmp_path, written, capsys):
    tokenizer = Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"])
    model = build(ModelConfig(vocab_size=257, context_length=64, n_layers=1, d_model=8, n_heads=2))
    save_run(tmp_path / "start", model, tokenizer)
    args = ["--data", written(TALKS), "--model", str(tmp_path / "start"), "--output", str(tmp_path / "run")]
    assert main(["sft", *args, "--lora-rank", "2"]) == 1
    assert "LoRA would leave untrained" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(["sft", *args, "--n-steps", "1"]) == 0
    note = "has no chat template, so it gets ChatML, with new tokens <|im_start|> and <|im_end|>"
    assert f"{tmp_path / 'start'} {note}" in capsys.readouterr().out
    tuned, grown = load_run(tmp_path / "run")
    assert tuned.config.vocab_size == 259
    assert grown.special_tokens == {"<|endoftext|>": 256, "<|im_start|>": 257, "<|im_end|>": 258}
    open_chat(ModelSource(str(tmp_path / "run")), [], seed=0)
    assert note not in capsys.readouterr().out


def test_lora_needs_the_tokens_of_a_chat_in_the_tokenizer(tmp_path, written, capsys):
    start = tmp_path / "start"
    own = Tokenizer.train("", 257, special_tokens=["<|endoftext|>"])
    tokenizer = to_hf_tokenizer(own, eos="<|endoftext|>")
    sizes = {"context_length": 64, "n_layers": 1, "d_model": 8, "n_heads": 2, "activation": "gelu_tanh"}
    to_hf(build(ModelConfig(vocab_size=259, **sizes))).save_pretrained(start)  # with two spare embeddings
    tokenizer.save_pretrained(start)
    args = ["sft", "--data", written(TALKS), "--model", str(start), "--lora-rank", "2", "--n-steps", "1"]
    assert main([*args, "--output", str(tmp_path / "run")]) == 1
    assert "LoRA would leave untrained" in capsys.readouterr().err
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.save_pretrained(start)
    assert main([*args, "--output", str(tmp_path / "run")]) == 0
    assert f"{start} has no chat template, so it gets ChatML\n" in capsys.readouterr().out


@pytest.mark.parity
def test_a_model_of_transformers_stays_one(tmp_path, written):
    words = {word: i for i, word in enumerate(["<end>", "What", "is", "plus", "It", "1", "2", "?", "."])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<end>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    sizes = {"context_length": 32, "n_layers": 1, "d_model": 8, "n_heads": 2, "activation": "gelu_tanh"}
    to_hf(build(ModelConfig(vocab_size=len(words), **sizes))).save_pretrained(tmp_path / "hf")
    theirs.save_pretrained(tmp_path / "hf")
    args = ["--data", written(TALKS), "--model", str(tmp_path / "hf"), "--output", str(tmp_path / "run")]
    assert main(["sft", *args, "--n-steps", "2"]) == 0
    chat = open_chat(ModelSource(str(tmp_path / "run")), [], seed=STEPS.seed)
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    talk = [{"role": "user", "content": "What is 1 plus 1 ?"}]
    ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
    name = "llmguide.runs.chat_model.open_chat"
    assert_parity(chat.prompt(talk), ids, of=name, against="transformers.apply_chat_template", atol=0)
    with torch.no_grad():
        ours, logits = chat.model(torch.tensor([ids])), peer(torch.tensor([ids])).logits
    assert_parity(ours, logits, of=name, against="transformers.GPT2LMHeadModel", atol=1e-5)
    assert tokenizer.eos_token == "<|im_end|>"
    ids, mask = chat.rendered([*talk, {"role": "assistant", "content": "2 ."}], 32)
    learned = [i for i, has_loss in zip(ids, mask, strict=True) if has_loss]
    assert tokenizer.decode(learned) == "2 . <|im_end|>"


@pytest.mark.nightly  # it trains as pretrain does, whose two processes are tested each time
def test_two_processes_train_the_same_model_as_one(tmp_path, written):
    args = ["sft", "--data", written(TALKS), *SMALL, "--n-steps", "4", "--batch-size", "4"]
    args += ["--dropout", "0"]  # is drawn for each process
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    found = subprocess.run(
        [*launcher, "-m", "llmguide", *args, "--output", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("model: ") == 1
    assert main([*args, "--output", str(tmp_path / "one")]) == 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "runs/x"], "give --data"),
        (["--data", "nowhere.jsonl"], "there is no file nowhere.jsonl"),
        (
            ["--data", "ROWS", "--context-length", "8"],
            "give shorter ones, or change --max-length or --context-length\n",
        ),
        (["--data", "ROWS", "--accumulation", "0"], "gradient_accumulation_steps=0 must be at least 1"),
        (["--data", "ROWS", "--lr", "nan"], "lr=nan must be above 0\n"),
        (["--data", "ROWS", "--seed", "-1"], "seed=-1 must be at least 0\n"),
        (["--data", "ROWS", "--lora-alpha", "4"], "give a --lora-rank"),
        (["--data", "ROWS", "--model", "runs/x"], "are those of a new model; drop them, or --model"),
    ],
)
def test_what_cannot_be_trained_says_why(args, message, tmp_path, written, capsys):
    args = [written(TALKS) if arg == "ROWS" else arg for arg in args]
    small = [] if "--context-length" in args else SMALL
    assert main(["sft", *args, *small, "--output", str(tmp_path / "run")]) == 1
    assert message in capsys.readouterr().err
