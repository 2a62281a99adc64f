"""A program that uses the public names alone runs, and passes two strict type checkers."""

import os
import re
import shutil
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
apply_lora(torch.nn.Linear(2, 2), rank="two", alpha=1.0, target_modules=["0"])
train(torch.nn.Linear(2, 2), "text", TrainConfig(n_steps=1, context_length=4))
load(3)
RewardModel("wrong")
ValueModel("wrong")
next_token_loss("wrong", torch.zeros(1, 2).long())
render_chat([{"role": "user", "content": "Hi"}], 5)
bits_per_byte(torch.nn.Linear(2, 2), 5, ["text"], bos_id=0)
"""


@pytest.fixture(scope="module", params=["mypy", pytest.param("pyright", marks=pytest.mark.nightly)])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a checker tells of the right program and of the wrong calls."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    shutil.copy(HERE / "outside.py", folder)
    config = (HERE / "pyrightconfig.json").read_text(encoding="utf-8").replace("../../src", str(ROOT / "src"))
    config = config.replace('"outside.py"', '"outside.py", "wrong.py"')
    (folder / "pyrightconfig.json").write_text(config, encoding="utf-8")
    paths = [folder / "outside.py", folder / "wrong.py"] if request.param == "mypy" else [folder]
    command = [sys.executable, "-m", *CHECKERS[request.param], *map(str, paths)]
    environment = os.environ | {"MYPYPATH": str(ROOT / "src")}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


def test_it_runs() -> None:
    outside.main()


def test_it_passes_a_strict_type_checker(told: str) -> None:
    assert set(re.findall(r"(\w+\.pyi?):\d", told)) == {"wrong.py"}, told


def test_wrong_calls_are_told(told: str) -> None:
    lines = enumerate(WRONG.splitlines(), 1)
    unnoticed = [line for n, line in lines if n > 3 and f"wrong.py:{n}:" not in told]
    assert not unnoticed, told
