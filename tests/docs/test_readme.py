"""What the README promises: its example prints what it says, and its commands exist."""

import re
import tomllib

import pytest
from site_tools import ROOT

from llmguide.cli import main

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_its_comment_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    expected = re.search(r"print\(.*?\)  # (\[.*?\])", code)
    assert expected is not None
    assert capsys.readouterr().out.strip() == expected[1]


def test_it_names_the_core_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (line,) = re.findall(r"^The first needs only (.+?)\.", README, re.MULTILINE)
    assert sorted(re.split(r", | and ", line)) == [
        re.split(">=", name)[0] for name in project["dependencies"]
    ]


def test_its_first_lines_name_versions_license_and_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert f"Python {versions[0]} to {versions[-1]} · {project['license']} license, text CC BY 4.0" in README
    workflows = re.findall(r"/actions/workflows/([\w.]+)/badge\.svg", README)
    assert workflows[0] == "site.yml"
    assert all((ROOT / ".github" / "workflows" / name).is_file() for name in workflows)
    assert "pull_request:" in (ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8")


def test_its_estimate_runs(capsys: pytest.CaptureFixture[str]) -> None:
    command = re.search(r"^llmguide (estimate .*)$", README, re.MULTILINE)
    assert command is not None
    assert main.main(command[1].split()) == 0
    assert "8.03B parameters, 15.00T tokens" in capsys.readouterr().out
