"""`make new` starts pages and modules that pass their own checks."""

import subprocess
import sys
from pathlib import Path

import pytest
from site_tools import ROOT, new


def test_a_new_module_and_its_test_pass(tmp_path: Path) -> None:
    files = new.files("src/llmguide/nn/doubled.py")
    module, test = files
    assert [path.relative_to(ROOT).as_posix() for path in files] == [
        "src/llmguide/nn/doubled.py",
        "tests/nn/test_doubled.py",
    ]
    assert "from llmguide.nn.doubled import doubled\n" in files[test]
    (tmp_path / "doubled.py").write_text(files[module], encoding="utf-8")
    (tmp_path / "test_doubled.py").write_text(files[test].replace("llmguide.nn.", ""), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--doctest-modules", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_a_new_module_and_its_test_pass_the_style_checks() -> None:
    for path, template in new.files("src/llmguide/nn/doubled.py").items():
        text = template.replace("nn.doubled", "nn.norms")  # a module that exists, for the order of imports
        for check in (["check"], ["format", "--check"]):
            command = ["ruff", *check, f"--stdin-filename={path}", "-"]
            done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


def test_a_new_page_has_its_title_and_its_own_name() -> None:
    ((path, text),) = new.files("docs/learn/soft-caps.md").items()
    assert path == ROOT / "docs" / "learn" / "soft-caps.md"
    assert "\n# Soft caps\n" in text
    assert "[[runs-on: learn/soft-caps]]" in text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "'' is neither a page"),
        ("learn/softmax.md", "is neither a page"),
        ("src/llmguide/softmax.py", "is neither a page"),
        ("src/llmguide/layers/softmax.py", "the folders are config, tokenization, nn,"),
        ("src/llmguide/nn/caps/softmax.py", "src/llmguide/nn/caps has no __init__.py"),
        ("docs/learn/Soft_caps.md", "Soft_caps.md: a page has a name in lower-case letters"),
        ("src/llmguide/nn/soft-caps.py", "soft-caps.py: a module has a name in lower-case letters"),
        ("src/llmguide/nn/class.py", "class.py: a module has a name in .* and no keyword"),
        ("docs/learn/attention.md", "docs/learn/attention.md exists already"),
        ("src/llmguide/nn/attention.py", "src/llmguide/nn/attention.py exists already"),
    ],
)
def test_a_wrong_name_is_refused(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        new.files(name)
