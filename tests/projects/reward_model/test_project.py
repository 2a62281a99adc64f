import json
import shutil
from dataclasses import replace

import pytest
import torch
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.models import build
from llmguide.post_training.preferences.reward_model import RewardModel
from llmguide.projects.pretrained import open_pretrained
from llmguide.projects.reward_model import evaluation
from llmguide.projects.reward_model.data import Plan, held_out_pairs, training_pairs
from llmguide.projects.reward_model.evaluation import edits, measure, score_held_out
from llmguide.projects.reward_model.model import score
from llmguide.projects.run import plan_of
from llmguide.runs.folder import load_run, save_run
from llmguide.runs.reward_heads import save_head, with_head

SIZES = ["--vocab-size", "300", "--n-layers", "1", "--d-model", "32", "--n-heads", "2", "--dropout", "0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A reward model of answers of which one is good and one is bad, whatever the question."""
    folder = tmp_path_factory.mktemp("runs")
    rows = [
        {"prompt": f"Question {i}?", "chosen": f"a good answer {i}", "rejected": f"it is bad {i}"}
        for i in range(300)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    args = ["project", "reward-model", "--data", str(folder / "pairs.jsonl"), *SIZES]
    steps = ["--language-steps", "20", "--batch-size", "8", "--reward-rate", "0.01"]
    assert main([*args, *steps, "--seed", str(SEED), "--output", str(folder / "whole")]) == 0
    return folder / "whole"


def test_a_run_passes_where_one_word_decides(finished, results, capsys):
    found = results(finished)["tests"]["held-out pairs"]["accuracy"]
    assert found["reward model"]["score"] == found["words (Bradley-Terry)"]["score"] == 1.0
    assert main(["check", "reward-model", str(finished)]) == 0
    assert "passed" in capsys.readouterr().out


def test_an_untrained_reward_model_fails_whatever_the_record_says(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    backbone, _ = load_run(copy / "reward")
    torch.manual_seed(SEED)
    reward_model = RewardModel(backbone)
    reward_model.head.weight.data *= 0  # all texts alike: every pair is a tie
    save_head(copy / "reward", reward_model)
    assert main(["check", "reward-model", str(copy)]) == 1
    assert "not passed" in capsys.readouterr().out


@pytest.mark.nightly
def test_a_base_is_adapted_in_the_upper_half_of_the_blocks_that_are_kept(finished, tmp_path, results):
    plan = plan_of(Plan, finished)
    base, tokenizer = load_run(finished / "language")
    torch.manual_seed(SEED)
    save_run(tmp_path / "base", build(replace(base.config, n_layers=5)), tokenizer)
    args = ["--data", plan.data, "--base", str(tmp_path / "base"), "--n-blocks", "4", "--lora-rank", "4"]
    steps = ["--reward-steps", "20", "--batch-size", "8", "--reward-rate", "0.03", "--n-edited", "9"]
    assert main(["project", "reward-model", *args, *steps, "--output", str(tmp_path / "run")]) == 0
    found = results(tmp_path / "run")
    assert found["tests"]["held-out pairs"]["accuracy"]["reward model"]["score"] > 0.9
    before, after = (open_pretrained(tmp_path / name)[0] for name in ("base", "run/reward"))
    assert len(after.blocks) == after.config.n_layers == 4
    assert found["n_params"] == sum(weight.numel() for weight in after.parameters())
    changed = {
        name
        for name, weight in after.named_parameters()
        if not torch.equal(weight, before.get_parameter(name))
    }
    assert {name.split(".")[1] for name in changed} == {"2", "3"}
    assert all("norm" not in name for name in changed)


def test_the_gain_over_words_is_of_the_same_pairs(finished):
    rewards = score_held_out(finished)
    [test] = measure(finished, SEED, rewards).values()
    assert test["over_words"] == {"score": 0.0, "low": 0.0, "high": 0.0}  # both are always right
    worse = {name: dict.fromkeys(of_text, 0.0) for name, of_text in rewards.items()}  # every pair is a tie
    [test] = measure(finished, SEED, worse).values()
    assert test["over_words"]["score"] == -0.5


def test_a_text_scores_the_same_alone_and_in_a_batch(finished):
    backbone, tokenizer = load_run(finished / "reward")
    reward_model = with_head(finished / "reward", backbone)
    texts = ["good", "a bad answer of some length", "an answer"]
    together = score(reward_model, tokenizer, texts)
    for text in texts:
        assert score(reward_model, tokenizer, [text])[text] == pytest.approx(together[text], abs=1e-5)


def test_edits_are_measured_against_the_text_itself(finished, monkeypatch):
    def by_length(_reward_model, _tokenizer, texts):
        return {text: float(len(text)) for text in texts}

    monkeypatch.setattr(evaluation, "score", by_length)
    backbone, tokenizer = load_run(finished / "reward")
    texts = ["One two three.", "Four five six seven."]
    found = edits(RewardModel(backbone), tokenizer, by_length(None, None, texts))
    # twice 14 or 20 characters and a space are 15 or 21 more
    assert found["said twice"] == {"change": 18.0, "rises": 1.0, "correlation": pytest.approx(1.0)}
    assert found["with an exclamation mark"]["change"] == found["in lower case"]["change"] == 0.0
    assert found["words shuffled"]["correlation"] == pytest.approx(1.0)


def test_no_comparison_is_on_both_sides(tmp_path):
    rows = [{"prompt": f"{i}?", "chosen": "a", "rejected": "b"} for i in range(50)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    learned, held_out = training_pairs(str(path), 1, 0), held_out_pairs(str(path))["held-out pairs"]
    assert len(learned) + len(held_out) == 50
    assert not {pair.units for pair in learned} & {pair.units for pair in held_out}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"n_pairs": 0}, "--n-pairs 0"),
        ({"reward_steps": 0}, "--reward-steps 0"),
        ({"n_blocks": -1}, "--n-blocks -1"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_trained(choice, message):
    with pytest.raises(ValueError, match=message):
        Plan(**choice)
