import json

import pytest
import torch

from llmguide import load
from llmguide.cli.grpo import _expected, _grader
from llmguide.cli.main import main
from llmguide.post_training.datasets import Problem
from llmguide.post_training.rl import verifiable_rewards
from llmguide.post_training.toy.frontier import divergence
from llmguide.post_training.toy.world import completion_logprobs, tiny_world
from llmguide.runs.folder import load_run
from llmguide.runs.toy_report import load_policy

PROBLEMS = [{"prompt": f"What is {i} plus 1?", "answer": i + 1} for i in range(8)]


@pytest.mark.parametrize("variant", ["grpo", pytest.param("rloo", marks=pytest.mark.nightly)])
def test_in_the_tiny_world_it_gains_the_reward_it_follows(variant, runs):
    args = ["--output", str(runs / "run"), "--n-steps", "10", "--variant", variant]
    assert main(["grpo", *args]) == 0
    start, tuned = json.loads((runs / "run" / "report.json").read_text())["rows"]
    world = tiny_world()
    with torch.no_grad():
        before, after = (completion_logprobs(load_policy(runs / name), world) for name in ("sft", "run"))
    assert tuned["policy"] == variant
    assert tuned["kl"] == pytest.approx(divergence(after, before).item(), abs=1e-4)
    assert start["learned"] + 0.02 < tuned["learned"] <= tuned["best_learned"] + 1e-3
    assert tuned["gold"] <= tuned["best_gold"] + 1e-3


QLORA = [
    "--lora-rank",
    "2",
    "--kl-coef",
    "0.01",
    "--quantize",
    "nf4",
    "--precision",
    "bf16",
    "--accumulation",
    "2",
    "--recompute",
]


@pytest.mark.parametrize("more", [[], QLORA], ids=["plain", "qlora"])
def test_on_problems_answers_are_checked(more, tmp_path, written, chat_run, capsys):
    args = ["--data", written(PROBLEMS), "--model", str(chat_run), "--output", str(tmp_path / "run")]
    args += ["--n-steps", "2", "--max-new-tokens", "4", "--batch-size", "2", "--held-out", "0.3"]
    assert main(["grpo", *args, *more]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert 0 <= report["after"][0] <= 1
    assert "right after" in capsys.readouterr().out
    assert load_run(tmp_path / "run")[0].config == load_run(chat_run)[0].config
    torch.testing.assert_close(
        load(tmp_path / "run" / "checkpoints").state_dict(),
        load(tmp_path / "run").state_dict(),
        rtol=0,
        atol=1e-6,
    )


def test_answers_are_numbers_if_all_of_them_are():
    numbers = [Problem([], "so it is\n#### 1,200"), Problem([], "3/4")]
    texts = [*numbers, Problem([], "Paris")]
    assert _grader("auto", numbers) is verifiable_rewards.numeric
    assert _grader("auto", texts) is verifiable_rewards.exact
    assert _grader("exact", numbers) is verifiable_rewards.exact
    with pytest.raises(ValueError, match="'Paris' is not a number; try exact"):
        _grader("numeric", texts)


def test_a_prompt_has_one_answer():
    def asked(answer):
        return [65], Problem([{"role": "user", "content": "A"}], answer)

    def decode(ids):
        return "".join(map(chr, ids))

    assert _expected(decode, [asked("#### 4"), asked("4")]) == {"A": "4"}
    with pytest.raises(ValueError, match="the prompt 'A' has two different answers"):
        _expected(decode, [asked("4"), asked("5")])


def test_what_cannot_be_trained_says_why(runs, written, chat_run, capsys):
    def fails(*args):
        assert main(["grpo", "--output", str(runs / "x"), *args]) == 1
        return capsys.readouterr().err

    assert "give --model" in fails("--data", written(PROBLEMS))
    assert "line 1: there is no field 'answer'" in fails(
        "--data", written([{"prompt": "x"}]), "--model", str(chat_run)
    )
    asked = ["--data", written(PROBLEMS), "--model", str(chat_run), "--max-new-tokens", "4", "--n-steps", "1"]
    assert "--max-new-tokens 64 leaves no room for a prompt in 64 tokens" in fails(
        *asked, "--max-new-tokens", "64"
    )
    assert "kl_coef=-1.0 must be at least 0" in fails(*asked, "--kl-coef", "-1")
    assert main(["grpo", "--output", str(runs / "x"), *asked, "--group-size", "2"]) == 0
    capsys.readouterr()
    assert "check='exact' (was 'auto')" in fails(*asked, "--group-size", "2", "--check", "exact")


def test_the_length_of_the_run_in_epochs_and_of_its_prompts_in_tokens(tmp_path, written, chat_run, capsys):
    rows = [*PROBLEMS, {"prompt": "What is 1 plus 2 and what is 2 plus 3?", "answer": 8}]
    args = ["--data", written(rows), "--model", str(chat_run), "--output", str(tmp_path / "run")]
    args += ["--max-new-tokens", "4", "--max-length", "40", "--held-out", "0", "--group-size", "2"]
    assert main(["grpo", *args, "--epochs", "2", "--batch-size", "2", "--accumulation", "2"]) == 0
    out = capsys.readouterr().out
    assert "dropped 1 of 9 prompts: longer than 36 tokens" in out
    assert "4 rollouts of 4 of 8 prompts" in out
    assert main(["grpo", *args, "--epochs", "2", "--n-steps", "4"]) == 1
    assert "give one of them" in capsys.readouterr().err
