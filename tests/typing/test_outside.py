"""A program that uses the public names alone runs, and passes two strict type checkers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.typing import outside

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CHECKERS = {
    "mypy": [
        *("mypy", "--strict", "--show-error-codes"),  # with the settings of the repository, and so its cache
    ],
    "pyright": ["basedpyright", "--pythonpath", sys.executable, "--project"],
}
# Each line is wrong, so types that accept all would show.
WRONG = """\
import torch
from llmguide import ModelConfig, RewardModel, Tokenizer, TrainConfig, ValueModel, apply_lora
from llmguide import bits_per_byte, build, dpo_loss, load, next_token_loss, render_chat, sample, train
build("gpt2")
ModelConfig(vocab_size="many", context_length=8, n_layers=1, d_model=8, n_heads=2)
Tokenizer.train("text", 300).decode("text")
dpo_loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), 0.1)
sample([0.1, 0.9])
apply_lora(torch.nn.Linear(2, 2), rank="two", alpha=1.0, targets=["0"])
train(torch.nn.Linear(2, 2), "text", TrainConfig(n_steps=1, context_length=4))
load(3)
RewardModel("wrong")
ValueModel("wrong")
next_token_loss("wrong", torch.zeros(1, 2).long())
render_chat([{"role": "user", "content": "Hi"}], 5)
bits_per_byte(torch.nn.Linear(2, 2), 5, ["text"], bos_id=0)
"""


def check(checker: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *CHECKERS[checker], str(path if checker == "mypy" else path.parent)]
    environment = os.environ | {"MYPYPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_it_runs() -> None:
    outside.main()


@pytest.mark.parametrize("checker", CHECKERS)
def test_it_passes_a_strict_type_checker(checker: str) -> None:
    result = check(checker, HERE / "outside.py")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_calls_are_told(checker: str, tmp_path: Path) -> None:
    path = tmp_path / "outside.py"
    path.write_text(WRONG, encoding="utf-8")
    config = (HERE / "pyrightconfig.json").read_text(encoding="utf-8").replace("../../src", str(ROOT / "src"))
    (tmp_path / "pyrightconfig.json").write_text(config, encoding="utf-8")
    told = check(checker, path).stdout
    unnoticed = [
        line for n, line in enumerate(WRONG.splitlines(), 1) if n > 3 and f"outside.py:{n}:" not in told
    ]
    assert not unnoticed, told
