import json

import pytest
import torch

from llmguide import load
from llmguide.cli.main import main
from llmguide.post_training.toy.frontier import divergence, expected
from llmguide.post_training.toy.world import completion_logprobs, tiny_world
from llmguide.runs.folder import load_run
from llmguide.runs.toy_report import load_policy

SIZES = {"n-layers": 1, "d-model": 16, "n-heads": 2, "vocab-size": 300, "context-length": 64}
SMALL = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
PAIRS = [{"prompt": f"Name {i}?", "chosen": f"good {i}", "rejected": f"rather bad {i}"} for i in range(60)]


def test_in_the_tiny_world_it_gains_true_reward_below_the_frontier(runs):
    assert main(["dpo", "--output", str(runs / "dpo"), "--n-steps", "20"]) == 0
    report = json.loads((runs / "dpo" / "report.json").read_text())
    start, tuned = report["rows"]
    world = tiny_world()
    with torch.no_grad():
        before, after = (completion_logprobs(load_policy(runs / name), world) for name in ("sft", "dpo"))
    assert tuned["kl"] == pytest.approx(divergence(after, before).item(), abs=1e-4)
    assert start["gold"] == pytest.approx(expected(before, world.gold).item(), abs=1e-5)
    assert start["gold"] < tuned["gold"] <= tuned["best_gold"] + 1e-3
    assert 0.5 < report["accuracy"] < 0.8
    last = json.loads((runs / "dpo" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["exact/kl"] == pytest.approx(tuned["kl"], abs=1e-4)
    assert last["exact/gold"] == pytest.approx(tuned["gold"], abs=1e-4)


@pytest.mark.parametrize("more", [[], ["--lora-rank", "2"]], ids=["plain", "lora"])
def test_on_comparisons_the_policy_moves_to_the_chosen(more, tmp_path, written, chat_run):
    args = ["--data", written(PAIRS), "--model", str(chat_run), "--output", str(tmp_path / "run")]
    assert main(["dpo", *args, "--n-steps", "20", "--lr", "0.01", *more]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    score = {row["system"]: row["score"] for row in report["accuracy"]}
    assert score["implicit reward"] > 0.9
    assert score["longer wins"] == 0.0
    assert load_run(tmp_path / "run")[0].config == load_run(chat_run)[0].config
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert [name for name in last if name.endswith("_per_s")] == ["pairs_per_s"]
    torch.testing.assert_close(
        load(tmp_path / "run" / "checkpoints").state_dict(),
        load(tmp_path / "run").state_dict(),
        rtol=0,
        atol=1e-6,
    )


def test_without_a_model_a_small_one_is_fine_tuned_first(tmp_path, written, capsys):
    args = ["--data", written(PAIRS), "--output", str(tmp_path / "run"), "--n-steps", "2"]
    assert main(["dpo", *args, *SMALL]) == 0
    assert "fine-tuned on the chosen completions first" in capsys.readouterr().out
    load_run(tmp_path / "run" / "sft")
    report = tmp_path / "run" / "sft" / "report.json"
    written_first = report.read_text()
    report.unlink()  # as a kill after the model leaves the folder
    assert main(["dpo", *args, *SMALL]) == 0
    assert report.read_text() == written_first


def test_what_cannot_be_trained_says_why(runs, written, capsys):
    assert main(["dpo", "--beta", "0", "--output", str(runs / "dpo"), "--n-steps", "1"]) == 1
    assert "beta=0.0 must be above 0" in capsys.readouterr().err
    assert main(["dpo", "--data", written([{"chosen": "a"}]), "--output", str(runs / "x")]) == 1
    assert "line 1: there is no field" in capsys.readouterr().err


def test_a_run_in_the_tiny_world_keeps_to_its_label_smoothing(runs, capsys):
    args = ["dpo", "--output", str(runs / "dpo"), "--n-steps", "2"]
    assert main(args) == 0
    assert main([*args, "--label-smoothing", "0.1"]) == 1
    assert "label_smoothing=0.1 (was 0.0)" in capsys.readouterr().err
