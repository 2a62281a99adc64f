"""`pytest --keep` repeats a test when something that it depends on changes, and only then."""

import shutil
import subprocess
import sys

import pytest
from site_tools import CACHE, DOCS, ROOT

from tests import kept

POSITIONS = ROOT / "tests" / "nn" / "test_positions.py"
CLI = ROOT / "tests" / "cli" / "test_grpo.py"
LINT = ROOT / "tests" / "docs" / "test_lint.py"
CELLS = ROOT / "tests" / "browser" / "test_cells.py"


def repeats(monkeypatch, changed, test, page=None):
    """Whether a change of a file repeats the tests of another."""
    assert (ROOT / changed).is_file()
    before = kept.key(test, page)
    real = kept._hash
    monkeypatch.setattr(kept, "_hash", lambda path: "changed" if path == ROOT / changed else real(path))
    return kept.key(test, page) != before


@pytest.mark.parametrize(
    ("changed", "test", "expected"),
    [
        ("tests/nn/test_positions.py", POSITIONS, True),
        ("src/llmguide/nn/positions.py", POSITIONS, True),
        ("tests/conftest.py", POSITIONS, True),
        ("tests/seed.py", POSITIONS, True),
        ("constraints.txt", POSITIONS, True),
        ("conftest.py", POSITIONS, True),
        ("src/llmguide/cli/grpo.py", POSITIONS, False),
        ("docs/learn/attention.md", POSITIONS, False),
        ("tests/nn/test_attention.py", POSITIONS, False),
        ("src/llmguide/nn/positions.py", CLI, True),
        ("src/llmguide/cli/grpo.py", CLI, True),
        ("docs/learn/attention.md", CLI, False),
        ("docs/learn/attention.md", LINT, True),
        ("site_tools/checks/lint.py", LINT, True),
        ("overrides/main.html", LINT, True),
        ("runtime/cells.js", CELLS, True),
        ("package-lock.json", CELLS, True),
    ],
)
def test_a_change_repeats_what_depends_on_it(monkeypatch, changed, test, expected):
    assert repeats(monkeypatch, changed, test) is expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("docs/learn/attention.md", True),
        ("docs/learn/transformer.md", False),
        ("docs/_data/facts.toml", True),
        ("docs/css/guide.css", True),
        ("runtime/worker.mjs", True),
        ("src/llmguide/nn/positions.py", True),
    ],
)
def test_a_page_in_the_browser_does_not_depend_on_other_pages(monkeypatch, changed, expected):
    assert repeats(monkeypatch, changed, CELLS, DOCS / "learn" / "attention.md") is expected


@pytest.fixture
def folder():
    place = CACHE / "test_kept"
    place.mkdir(parents=True, exist_ok=True)
    yield place
    shutil.rmtree(place)


def test_only_what_passed_as_it_is_now_is_left_out(folder, tmp_path):
    test = folder / "test_it.py"

    def run(condition):
        test.write_text(f"def test_one():\n    pass\n\n\ndef test_two():\n    assert {condition}\n")
        command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "--keep", str(tmp_path), str(test)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return ended.stdout.strip().splitlines()[-1].split(" in ")[0].removesuffix(", 1 warning")

    assert run("False") == "1 failed, 1 passed"
    assert run("False") == "1 failed"
    assert run("True") == "2 passed"
    assert run("True") == "no tests ran"
