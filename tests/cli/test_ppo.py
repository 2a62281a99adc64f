import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from llmguide import load
from llmguide.cli.main import main
from llmguide.post_training.toy.frontier import divergence
from llmguide.post_training.toy.world import completion_logprobs, tiny_world
from llmguide.runs.folder import load_run
from llmguide.runs.toy_report import load_policy

PROMPTS = [{"prompt": f"What is {i} plus 1?"} for i in range(6)]


def test_in_the_tiny_world_it_gains_the_reward_it_follows(runs):
    assert main(["ppo", "--output", str(runs / "ppo"), "--n-steps", "10"]) == 0
    start, tuned = json.loads((runs / "ppo" / "report.json").read_text())["rows"]
    world = tiny_world()
    with torch.no_grad():
        before, after = (completion_logprobs(load_policy(runs / name), world) for name in ("sft", "ppo"))
    assert tuned["kl"] == pytest.approx(divergence(after, before).item(), abs=1e-4)
    assert start["learned"] == pytest.approx(0, abs=1e-4)
    assert 0.05 < tuned["learned"] <= tuned["best_learned"] + 1e-3
    assert tuned["gold"] <= tuned["best_gold"] + 1e-3
    lines = [json.loads(line) for line in (runs / "ppo" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 10
    assert lines[-1]["exact/kl"] == pytest.approx(tuned["kl"], abs=1e-4)
    assert list((runs / "ppo" / "logs").glob("events.out.tfevents*"))


def test_a_run_in_two_sittings_ends_as_one(runs):
    args = ["ppo", "--n-steps", "4", "--checkpoint-every", "2", "--batch-size", "16"]
    for name in ("whole", "stopped"):
        assert main([*args, "--output", str(runs / name)]) == 0
    max((runs / "stopped" / "checkpoints").glob("step-*")).unlink()
    assert main([*args, "--output", str(runs / "stopped")]) == 0
    one, other = (load_file(runs / name / "model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.skipif(os.name != "posix", reason="gloo on localhost")
@pytest.mark.nightly  # tests/post_training/rl/test_trainer_distributed.py proves it without torchrun
def test_two_processes_of_torchrun_end_as_one(runs):
    args = ["ppo", "--n-steps", "3", "--batch-size", "16"]
    assert main([*args, "--output", str(runs / "one")]) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "llmguide", *args, "--output", str(runs / "two")]
    subprocess.run(command, check=True, capture_output=True)
    one, two = (load_file(runs / name / "model.safetensors") for name in ("one", "two"))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)
    reports = [json.loads((runs / name / "report.json").read_text()) for name in ("one", "two")]
    assert reports[0]["rows"][1]["gold"] == pytest.approx(reports[1]["rows"][1]["gold"], abs=1e-3)


QLORA = ["--lora-rank", "2", "--quantize", "nf4", "--precision", "bf16", "--accumulation", "2", "--recompute"]


@pytest.mark.parametrize("more", [[], QLORA], ids=["plain", "qlora"])
def test_on_prompts_it_follows_a_reward_model(more, tmp_path, written, chat_run, capsys):
    pairs = [row | {"chosen": f"good {i}", "rejected": f"bad {i}"} for i, row in enumerate(PROMPTS * 5)]
    judge, output = tmp_path / "judge", tmp_path / "run"
    args = ["--data", written(pairs, "pairs.jsonl"), "--model", str(chat_run), "--held-out", "0.4"]
    assert main(["reward", *args, "--output", str(judge), "--n-steps", "2"]) == 0
    args = ["--data", written(PROMPTS), "--model", str(chat_run), "--reward-model", str(judge)]
    args += ["--output", str(output), "--n-steps", "2", "--max-new-tokens", "4", "--batch-size", "4"]
    assert main(["ppo", *args, *more]) == 0
    report = json.loads((output / "report.json").read_text())
    assert report["last"]["length"] <= 4
    assert load_run(output)[0].config == load_run(chat_run)[0].config
    assert (output / "adapter").exists() == bool(more)
    torch.testing.assert_close(
        load(output / "checkpoints").state_dict(), load(output).state_dict(), rtol=0, atol=1e-6
    )
    assert main(["ppo", *args, *more, "--max-new-tokens", "5"]) == 1
    assert "max_new_tokens=5 (was 4)" in capsys.readouterr().err
    assert main(["ppo", *args, *more, "--output", str(tmp_path / "x"), "--kl-coef", "-1"]) == 1
    assert "kl_coef=-1.0 must be at least 0" in capsys.readouterr().err


def test_what_cannot_be_trained_says_why(runs, written, chat_run, capsys):
    def fails(*args):
        assert main(["ppo", "--output", str(runs / "x"), *args]) == 1
        return capsys.readouterr().err

    assert "a policy and a reward model" in fails("--data", written(PROMPTS))
    assert "give --data" in fails("--lora-rank", "2")
    asked = ["--data", written(PROMPTS), "--model", str(chat_run)]
    assert "has no reward model" in fails(*asked, "--reward-model", str(chat_run))
