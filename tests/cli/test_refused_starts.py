"""A command that refuses to start leaves nothing behind, so the corrected command can use the folder."""

import json
import sys
from itertools import count
from types import SimpleNamespace

import pytest

from llmguide.cli.main import main
from llmguide.data.corpora import load_corpus
from llmguide.data.splits import in_validation

PROMPTS = [{"prompt": f"What is {i} plus 1?", "answer": f"{i + 1}"} for i in range(8)]


@pytest.mark.parametrize(
    "args",
    [
        ["pretrain", "--corpus", "ONE_WORD"],
        ["pretrain", "--epochs", "-1"],
        ["pretrain", "--corpus", "TEXTS", "--vocab-size", "300", "--context-length", "8000"],
        ["sft", "--data", "nowhere.jsonl"],
        ["sft", "--data", "ROWS", "--max-length", "3"],
        ["sft", "--data", "ROWS", "--lr", "-1"],
        ["sft", "--data", "ROWS", "--model", "NO_MODEL"],
        ["sft", "--n-steps", "-1"],
        ["dpo", "--data", "nowhere.jsonl"],
        ["dpo", "--data", "ROWS", "--beta", "-1"],
        ["dpo", "--model", "NO_MODEL"],
        ["reward", "--data", "ROWS"],
        ["ppo", "--model", "NO_MODEL"],
        ["ppo", "--data", "ROWS", "--model", "NO_MODEL", "--reward-model", "NO_MODEL"],
        ["grpo", "--data", "ROWS", "--model", "NO_MODEL"],
        ["project", "character-model", "--corpus", "ONE_WORD"],
    ],
    ids=" ".join,
)
@pytest.mark.filterwarnings("ignore:.*were not read", "ignore:the texts are too small")
def test_it_leaves_nothing_behind(args, tmp_path, written, capsys):
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "empty").mkdir()
    words = {
        "ROWS": written(PROMPTS),
        "ONE_WORD": str(tmp_path / "one.txt"),
        "TEXTS": written([{"text": f"the text {i} of them"} for i in range(40)]),
        "NO_MODEL": str(tmp_path / "empty"),
    }
    output = tmp_path / "runs" / "run"
    assert main([words.get(arg, arg) for arg in args] + ["--output", str(output)]) == 1
    assert capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("command", ["pretrain", "sft", "reward", "dpo", "ppo", "grpo"])
def test_without_wandb_it_names_the_extra_and_leaves_nothing_behind(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main([command, "--wandb", "a project", "--output", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == 'llmguide: --wandb needs wandb: pip install "llmguide[wandb]"\n'
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["pretrain", "sft"])
def test_without_a_login_to_wandb_it_says_so_before_any_work(command, tmp_path, monkeypatch, capsys):
    def login():
        raise errors.Error("No API key configured. Use `wandb login` to log in.")

    errors = SimpleNamespace(Error=type("Error", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(login=login, errors=errors))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert main([command, "--wandb", "a project", "--output", str(tmp_path / "run")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "llmguide: --wandb: No API key configured. Use `wandb login` to log in. or set WANDB_MODE=offline to "
        "log to the run folder only\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_missing_is_told_before_other_options(tmp_path, capsys):
    args = ["sft", "--output", str(tmp_path / "run")]
    assert main([*args, "--n-steps", "2"]) == 0
    assert main([*args, "--data", "nowhere.jsonl"]) == 1
    assert "there is no file nowhere.jsonl" in capsys.readouterr().err
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_file_is_no_output(written, capsys):
    data = written([{"prompt": "Hi", "completion": "Hello"}])
    assert main(["sft", "--data", data, "--output", data]) == 1
    assert f"--output {data} is a file; give a folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sft", "dpo", "reward"])
def test_the_longest_example_has_two_tokens_or_more_and_fits_the_context(
    command, tmp_path, written, chat_run, capsys
):
    row = {"completion": "Yes.", "chosen": "Yes.", "rejected": "No."}
    data = written([row | {"prompt": word} for word in "abcdef"])
    args = [command, "--data", data, "--output", str(tmp_path / "run"), "--held-out", "0.2"]
    args += ["--n-steps", "1", "--model", str(chat_run)]
    assert main([*args, "--max-length", "1"]) == 1
    assert "--max-length 1 must be at least 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*args, "--max-length", "64"]) == 0
    limited = "is limited to 64, the context length of the model"
    assert limited not in capsys.readouterr().out
    assert main([*args[:4], str(tmp_path / "other"), *args[5:], "--max-length", "65"]) == 0
    assert f"--max-length 65 {limited}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("commands", "option"),
    [
        ("sft", "--model runs/x"),
        ("sft", "--packed"),
        ("sft dpo reward", "--vocab-size 300"),
        ("sft dpo reward", "--n-layers 1"),
        ("sft dpo reward", "--max-length 0"),
        ("sft dpo reward ppo grpo", "--epochs 0"),
        ("sft dpo reward grpo", "--held-out 0.3"),
        ("dpo reward", "--n-pairs 9"),
        ("sft dpo reward ppo grpo", "--quantize nf4"),
        ("sft dpo reward ppo grpo", "--lora-rank 2"),
        ("ppo grpo", "--max-new-tokens 5"),
        ("ppo grpo", "--max-length 9"),
        ("grpo", "--check exact"),
    ],
)
def test_the_tiny_world_refuses_options_that_it_would_ignore(commands, option, tmp_path, capsys):
    for command in commands.split():
        args = [command, *option.split(), "--output", str(tmp_path / "run"), "--n-steps", "1"]
        assert main(args) == 1
        assert "give --data, or drop" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["sft", "dpo", "reward", "ppo", "grpo"])
def test_a_run_is_resumed_on_the_same_data_only(command, tmp_path, written, chat_run, capsys):
    rows = [row | {"chosen": f"It is {i + 1}.", "rejected": f"No {i}."} for i, row in enumerate(PROMPTS * 3)]
    talks = [row | {"completion": row["chosen"]} for row in rows]
    small = ["--n-layers", "1", "--d-model", "16", "--vocab-size", "300", "--context-length", "64"]
    start = ["--model", str(chat_run), "--n-steps", "1", "--max-new-tokens", "4", "--batch-size", "2"]
    options = {
        "sft": [*small, "--n-steps", "1"],  # a new model, with a tokenizer of the data
        "dpo": [*start[:4], "--held-out", "0.4"],
        "reward": [*start[:4], "--held-out", "0.4"],
        "ppo": [*start, "--reward-model", str(tmp_path / "reward")],
        "grpo": start,
    }
    data, run = written(talks), tmp_path / "run"
    if command == "ppo":
        args = ["--data", data, "--output", str(tmp_path / "reward"), *options["reward"]]
        assert main(["reward", *args]) == 0
    args = [command, "--data", data, "--output", str(run), *options[command]]
    assert main(args) == 0
    tokenizer = (run / "tokenizer.json").read_bytes()
    assert main(args) == 0
    written([*talks[:-1], talks[-1] | {"prompt": "What is a zebra?"}])
    capsys.readouterr()
    assert main(args) == 1
    assert f"{run} has a run on other data: {data} has changed" in capsys.readouterr().err
    assert (run / "tokenizer.json").read_bytes() == tokenizer
    written(talks)
    assert main(args) == 0


def test_a_text_of_114_kilobytes_is_trained_on_with_defaults(tmp_path, capsys):
    sentence = (
        "The speech of a president is long, and its words are often the same as those of the year before. "
    )
    text = "".join(f"{i}. {sentence}" + "\n" * (i % 9 == 0) for i in range(1120))[:114_000]
    for i in count():  # a name with which the hash holds out none of the passages
        path = tmp_path / f"{i}.txt"
        path.write_text(text)
        if not any(in_validation(passage.id) for passage in load_corpus(path)):
            break
    # the defaults but for the length of the run
    args = ["pretrain", "--corpus", str(path), "--output", str(tmp_path / "run"), "--n-steps", "2"]
    assert main([*args, "--batch-size", "2", "--eval-batches", "1"]) == 0, capsys.readouterr().err
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["validation"], run["training"]["context_length"]) == (0.05, 128)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [row["step"] for row in rows if "val_loss" in row] == [2]
    assert main([*args, "--epochs", "0.1", "--batch-size", "1", "--accumulation", "2"]) == 0
    out = capsys.readouterr().out
    assert "steps of 256 tokens, 0.1 passes over" in out
