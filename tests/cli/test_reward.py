import json
import shutil

import pytest
import torch

from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.post_training.chat import END, START
from llmguide.post_training.preferences import corpora
from llmguide.post_training.preferences.corpora import RatedText
from llmguide.post_training.preferences.reward_model import RewardModel
from llmguide.post_training.toy.world import tiny_world
from llmguide.runs.comparisons import load_pairs
from llmguide.runs.folder import load_model, load_run, save_run
from llmguide.runs.options import ComparisonData
from llmguide.runs.reward_heads import HEAD, save_head, with_head
from llmguide.runs.toy import learned_rewards
from llmguide.tokenization.tokenizer import Tokenizer

SIZES = {"n-layers": 1, "d-model": 16, "n-heads": 2, "vocab-size": 300, "context-length": 64}
SMALL = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
PAIRS = [{"prompt": f"Name {i}?", "chosen": f"good {i}", "rejected": f"rather bad {i}"} for i in range(60)]


def accuracies(folder):
    report = json.loads((folder / "report.json").read_text())
    return {row["system"]: row["score"] for row in report["accuracy"]}


def test_in_the_tiny_world_its_accuracy_is_between_a_guess_and_the_truth(runs):
    report = json.loads((runs / "reward" / "report.json").read_text())
    assert 0.5 < report["accuracy"]["learned"] < report["accuracy"]["gold"] < 1.0
    for row in report["rows"]:
        assert row["gold"] <= row["best_gold"] + 1e-3
        # nothing follows the learned reward better than its own optimum
        assert row["learned"] == pytest.approx(row["best_learned"], abs=1e-3)
    policy, reference, rewards = learned_rewards(None, None, runs / "ppo", seed=0)
    assert (reference.exp() * rewards).sum(dim=1).abs().max() < 1e-4
    reward_model = with_head(runs / "reward", load_model(runs / "reward"))
    world = tiny_world()
    ids = torch.cat([world.prompts[[1]], world.completions[5][world.mask[5]]])[None]
    both = torch.cat([world.prompts[[1]], world.completions[9][world.mask[9]]])[None]
    with torch.no_grad():
        difference = (reward_model(ids) - reward_model(both)).item()
    assert difference == pytest.approx((rewards[1, 5] - rewards[1, 9]).item(), abs=1e-5)
    assert policy.config == world.config


def test_what_is_missing_of_the_tiny_world_is_made_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("llmguide.runs.toy.N_STEPS", 2)
    assert main(["reward", "--output", str(tmp_path / "reward"), "--n-steps", "2"]) == 0
    assert "training it first, as llmguide sft does" in capsys.readouterr().out
    assert load_model(tmp_path / "sft").config == tiny_world().config


@pytest.mark.parametrize("more", [[], ["--lora-rank", "2"]], ids=["plain", "lora"])
def test_on_comparisons_it_learns_what_the_words_say(more, tmp_path, written, capsys):
    args = ["--data", written(PAIRS), "--output", str(tmp_path / "run"), "--n-steps", "25"]
    assert main(["reward", *args, *SMALL, "--lr", "0.01", "--dropout", "0", *more]) == 0
    found = accuracies(tmp_path / "run")
    assert found["longer wins"] == 0.0
    assert found["words (Bradley-Terry)"] == 1.0
    assert found["reward model"] > 0.9
    reward_model = with_head(tmp_path / "run", load_run(tmp_path / "run")[0])
    assert reward_model.head.weight.shape == (1, 16)
    [*_, newest] = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert main(["generate", str(newest)]) == 1
    assert f"{newest} is a reward model, which generates no text" in capsys.readouterr().err


def test_peoples_ratings_come_with_the_ceiling(tmp_path, monkeypatch):
    def rated(i):
        mood = ("good", "bad")[i % 2]
        sign = (1, -1)[i % 2]
        return RatedText(f"tweets:{i}", f"{mood} {i}", (3 * sign, sign, 2 * sign, sign), f"{i}")

    monkeypatch.setattr(corpora, "rated_texts", lambda: [rated(i) for i in range(200)])
    args = [
        "--data",
        "vader",
        "--output",
        str(tmp_path / "run"),
        "--n-pairs",
        "200",
        "--held-out",
        "0.4",
        "--n-steps",
        "20",
    ]
    assert main(["reward", *args, *SMALL, "--lr", "0.01"]) == 0
    found = accuracies(tmp_path / "run")
    assert found["people, a second panel"] == 1.0
    assert found["reward model"] > 0.9
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["n_pairs"] == 100
    assert report["n_units"] <= 100


def test_hh_is_read_from_a_copy(tmp_path, written, monkeypatch):
    asked = "\n\nHuman: Hi {}\n\nAssistant: "
    rows = [{"chosen": asked.format(i) + "a", "rejected": asked.format(i) + "b"} for i in range(40)]
    path = written(rows)
    monkeypatch.setattr(corpora, "local_copy", lambda name: path)
    seen, unseen = load_pairs(ComparisonData("hh"), seed=0)
    assert len(seen) + len(unseen) == 40
    assert seen[0].prompt[0]["content"].startswith("Hi")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "x", "chosen": "a"}], "line 1: there is no field 'rejected'"),
        (PAIRS[:1], "pairs for training and"),
    ],
)
def test_what_cannot_be_trained_says_why(rows, message, tmp_path, written, capsys):
    assert main(["reward", "--data", written(rows), "--output", str(tmp_path / "run")]) == 1
    assert message in capsys.readouterr().err


def test_other_folders_are_refused(runs, tmp_path, capsys):
    assert main(["reward", "--model", str(tmp_path), "--output", str(tmp_path / "run")]) == 1
    assert "has no model of the tiny world" in capsys.readouterr().err
    with pytest.raises(ValueError, match="has no reward model"):
        with_head(runs / "sft", load_model(runs / "sft"))


@pytest.mark.parametrize("place", ["run", "run/adapter"])
@pytest.mark.parametrize("command", ["export", "generate", "chat"])
def test_a_reward_model_is_not_taken_for_a_model_that_writes(command, place, tmp_path, capsys):
    tokenizer = Tokenizer.train("", 259, special_tokens=["<|endoftext|>", START, END])
    sizes = {"context_length": 64, "n_layers": 1, "d_model": 8, "n_heads": 2, "activation": "gelu_tanh"}
    model = build(ModelConfig(vocab_size=259, **sizes))
    save_run(tmp_path / "run", model, tokenizer)
    save_run(tmp_path / "run" / "adapter", model, tokenizer)
    save_head(tmp_path / "run", RewardModel(model))
    more = [] if command == "chat" else [str(tmp_path / "new")]
    assert main([command, str(tmp_path / place), *more]) == 1
    assert f"{tmp_path / place} is a reward model: its head" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_damaged_head_is_named(runs, tmp_path):
    shutil.copytree(runs / "reward", tmp_path / "reward")
    backbone, head = load_model(tmp_path / "reward"), tmp_path / "reward" / HEAD
    for content in (b"", head.read_bytes()[:-1], (runs / "reward" / "model.safetensors").read_bytes()):
        head.write_bytes(content)
        with pytest.raises(ValueError, match="has a damaged reward model"):
            with_head(tmp_path / "reward", backbone)
