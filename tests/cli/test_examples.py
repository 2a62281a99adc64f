"""Every command that the help, the guide and the README show can be typed; those that train are run."""

import functools
import json
import re
import shlex
from importlib import import_module
from itertools import pairwise

import pytest
from site_tools import ROOT
from site_tools.fences import fences
from tests.cli.test_stock_templates import ASKED, GOOD, PAIRS, stock  # noqa: F401

from llmguide.cli import main as cli
from llmguide.cli.main import COMMANDS, TRAINING, main


def examples():
    """The examples as they are typed, each once, without what follows from two spaces or a # on."""
    texts = [import_module(f"llmguide.cli.{cli._module(name)}").DESCRIPTION for name in COMMANDS]
    texts = [text.partition("Examples:")[2] for text in texts] + [cli.EXAMPLES]
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        if path.name != "parity.md":
            cells = fences(path.read_text(encoding="utf-8"))
            texts += [cell.code for cell in cells if cell.language in {"bash", "console", "sh", "text", ""}]
    joined = "\n".join(texts).replace("\\\n", " ")
    found = re.findall(r"^(?:> |\$ | )*(?:torchrun .*-m )?(llmguide [a-z].*)$", joined, re.MULTILINE)
    lines = {re.split(r"  +|#|\||(?<=\s)>|: ", line)[0].strip() for line in found}
    return sorted(line for line in lines if line.split()[1] in COMMANDS and not line.endswith("--help"))


EXAMPLES = examples()


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_is_understood(line, monkeypatch, capsys):
    name, *args = shlex.split(line)[1:]
    module, called = import_module(f"llmguide.cli.{cli._module(name)}"), []

    def stub(function):
        return functools.wraps(function)(lambda *_, **__: called.append(function))

    command = module.COMMAND
    is_group = isinstance(command, dict)
    monkeypatch.setattr(
        module, "COMMAND", {key: stub(each) for key, each in command.items()} if is_group else stub(command)
    )
    assert main([name, *args]) == 0, capsys.readouterr().err
    assert len(called) == 1


def test_there_are_examples_of_every_command():
    assert {line.split()[1] for line in EXAMPLES} == set(COMMANDS)


# ---- running them --------------------------------------------------------------------------------------

DOWNLOADED = ("tatsu-lab/", "trl-lib/", "vader")
LOCAL = [line for line in EXAMPLES if line.split()[1] in TRAINING - {"pretrain"}]
LOCAL = [line for line in LOCAL if not any(name in line for name in DOWNLOADED)]
ORDER = ["sft", "reward", "dpo", "ppo", "grpo"]  # PPO needs a reward model
LOCAL = sorted(LOCAL, key=lambda line: ORDER.index(line.split()[1]))
# The longest of each command has the most options.
LONGEST = [max((line for line in LOCAL if line.split()[1] == name), key=len) for name in ORDER]
MANY = range(5)


@pytest.fixture(scope="module")
def start(stock, tmp_path_factory):  # noqa: F811
    """A folder with the files that the examples name, and a small random model in place of theirs."""
    folder = tmp_path_factory.mktemp("examples")
    talks = [{"prompt": asked, "completion": good} for asked, good in zip(ASKED, GOOD, strict=True)]
    sums = [
        {"question": asked, "answer": f"{good} #### {i}"}
        for i, (asked, good) in enumerate(zip(ASKED, GOOD, strict=True))
    ]
    prompts = [{"prompt": asked} for asked in ASKED]
    for name, rows in (("talks", talks), ("pairs", PAIRS), ("prompts", prompts), ("gsm8k", sums)):
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for _ in MANY for row in rows))
    (folder / "talks.csv").write_text(
        "prompt,completion\n"
        + "".join(f"{row['prompt']},{row['completion']}\n" for _ in MANY for row in talks)
    )
    return folder, str(stock("qwen3"))


@pytest.mark.parametrize(
    "lines", [LONGEST, pytest.param(LOCAL, marks=pytest.mark.nightly)], ids=["longest", "all"]
)
def test_every_training_example_runs(lines, start, monkeypatch, capsys):
    folder, model = start
    monkeypatch.chdir(folder)
    judge, failed = "", []
    for i, line in enumerate(lines):
        name, *args = shlex.split(line)[1:]
        output = str(folder / "runs" / str(i))
        options = dict(pairwise(args))
        if "--model" in options:
            args[args.index("--model") + 1] = model
        if "--reward-model" in options:
            args[args.index("--reward-model") + 1] = judge
        if "--output" in options:
            args[args.index("--output") + 1] = output
        else:
            args += ["--output", output]
        if name == "reward" and "--model" in options:
            judge = output
        if status := main([name, *args, "--n-steps", "1", "--batch-size", "4"]):
            failed.append((line, status, capsys.readouterr().err))
    assert len(LOCAL) > 12
    assert not failed
