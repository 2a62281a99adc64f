"""The commands that the pages of the projects show can be given as they stand."""

import re
import shlex
from functools import wraps
from importlib import import_module

import pytest
from site_tools import DOCS

from llmguide.cli.main import main

PAGES = sorted((DOCS / "projects").glob("*.md"))
COMMAND = re.compile(r"(?:-m )?llmguide (?:project|start|check|app|pretrain|reward|estimate) [^`\n#]*")


def commands(text):
    """What stands between backticks or on the lines of a console block, without torchrun and its options."""
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^llmguide .*$", text, re.MULTILINE)
    found = [match[0].removeprefix("-m ") for line in code for match in [COMMAND.search(line)] if match]
    return [shlex.split(command)[1:] for command in found]


GIVEN = [
    pytest.param(args, id=" ".join([page.stem, *args])[:80])
    for page in PAGES
    for args in commands(page.read_text(encoding="utf-8"))
    if args[-1] not in {"FOLDER", "memory", "--help"}  # these speak of a command
]


@pytest.mark.parametrize("args", GIVEN)
def test_a_command_of_a_page_is_understood(args, monkeypatch):
    module, called = import_module(f"llmguide.cli.{args[0]}"), []

    def recorded(function):
        @wraps(function)
        def call(*_, **__):
            called.append(function)

        return call

    command = module.COMMAND
    stubs = (
        {name: recorded(f) for name, f in command.items()} if isinstance(command, dict) else recorded(command)
    )
    monkeypatch.setattr(module, "COMMAND", stubs)
    assert main(args) == 0
    assert len(called) == 1


def test_commands_are_found():
    text = "`torchrun --nproc-per-node 8 -m llmguide reward --data hh`\n\nllmguide check small-lm\n"
    assert commands(text) == [["reward", "--data", "hh"], ["check", "small-lm"]]


def test_an_application_without_a_run_says_what_makes_one(tmp_path, capsys):
    assert main(["app", "code-assistant", "--run", str(tmp_path / "none")]) == 1
    assert "run llmguide project code-assistant" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
