"""`pytest --keep` repeats a test when something that it depends on changes, and only then."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from site_tools import ROOT

COPIED = (
    "site_tools/__init__.py",
    "site_tools/browser.py",
    "site_tools/cells",
    "tests/__init__.py",
    "tests/kept",
)
# A small repository: each of its tests reads, imports or starts one thing.
FILES = dict(
    re.findall(
        r"^--- (\S+)\n(.*?)(?=^--- |\Z)",
        """
--- .gitignore
.cache/
__pycache__/
--- pyproject.toml
[tool.pytest.ini_options]
addopts = "--import-mode=importlib --doctest-modules -p no:cacheprovider"
pythonpath = [".", "src"]
--- conftest.py
pytest_plugins = ["tests.kept"]
--- constraints.txt
--- docs/unread.txt
--- docs/child.txt
--- docs/node.txt
--- docs/fork.txt
--- docs/cached.txt
--- docs/import.txt
--- docs/a.md
--- docs/b.md
--- src/llmguide/__init__.py
from importlib import import_module

MODULES = {"attend": "llmguide.public"}

def __getattr__(name):
    if name not in MODULES:
        raise AttributeError(name)
    return getattr(import_module(MODULES[name]), name)
--- src/llmguide/__init__.pyi
from llmguide.public import attend as attend
--- src/llmguide/public.py
def attend(): ...
--- src/llmguide/direct.py
def f():
    from llmguide import late
--- src/llmguide/late.py
--- src/llmguide/computed/__init__.py
--- src/llmguide/computed/one.py
--- src/llmguide/in_a_doctest.py
y = 1
--- src/llmguide/shown.py
'''
>>> from llmguide.in_a_doctest import y
>>> y
1
'''
--- src/llmguide/program.py
--- src/llmguide/table.json
--- tests/test_public.py
def test_it():
    from llmguide import attend
--- tests/test_package.py
import llmguide

def test_it():
    llmguide.attend()
--- tests/test_direct.py
from llmguide.direct import f

def test_it():
    f()
--- tests/test_computed.py
from importlib import import_module

def test_it(name="one"):
    import_module(f"llmguide.computed.{name}")
--- tests/test_exec.py
def test_it():
    exec("from llmguide.in_a_doctest import y")
--- tests/cached.py
from functools import cache
from pathlib import Path

@cache
def words():
    return Path("docs/cached.txt").read_text()
--- tests/test_cached_1.py
from tests.cached import words

def test_it():
    words()
--- tests/test_cached_2.py
from tests.cached import words

def test_it():
    words()
--- tests/test_import.py
from pathlib import Path

TEXT = Path("docs/import.txt").read_text()

def test_it():
    pass
--- tests/test_pages.py
from pathlib import Path

import pytest

@pytest.mark.parametrize("name", ["a", "b"])
def test_page(name):
    Path(f"docs/{name}.md").read_text()
--- tests/test_together.py
from pathlib import Path

import pytest

@pytest.fixture(scope="module")
def opened():
    return {}

@pytest.mark.parametrize("name", ["a", "b"])
def test_page(opened, name):
    Path(f"docs/{name}.md").read_text()
--- tests/test_python.py
import subprocess, sys

def test_it():
    code = "open('docs/child.txt').read(); import llmguide.program"
    subprocess.run([sys.executable, "-c", code], check=True)
--- tests/test_fork.py
import os
from pathlib import Path

def test_it():
    child = os.fork()
    if not child:
        Path("docs/fork.txt").read_text()
        os._exit(0)
    os.waitpid(child, 0)
--- tests/test_node.py
import subprocess

def test_it():
    code = "require('node:fs').readFileSync('docs/node.txt')"
    subprocess.run(["node", "--eval", code], check=True)
--- tests/test_unwatched.py
import subprocess, sys

def test_it():
    subprocess.run([sys.executable, "-I", "-c", "open('docs/child.txt').read()"], check=True)
--- tests/test_types.py
import subprocess, sys

def test_it():
    subprocess.run([sys.executable, "-c", "", "mypy"], check=True)
--- tests/test_bare.py
import subprocess, sys
from pathlib import Path

def test_it(tmp_path):
    script = Path("tests/bare/script.py").resolve()
    subprocess.run([sys.executable, "-I", "-S", script], cwd=tmp_path, check=True)
--- tests/bare/script.py
--- tests/bare/beside.py
--- tests/test_data.py
from pathlib import Path

def test_it():
    Path("src/llmguide/table.json").read_text()
--- tests/test_lists.py
from pathlib import Path

def test_it():
    assert list(Path("src/llmguide/computed").glob("*.py"))
--- tests/test_asks.py
from pathlib import Path

def test_it():
    assert not Path("src/llmguide/absent.py").exists()
--- tests/test_git.py
import subprocess

def test_it():
    subprocess.run(["git", "ls-files"], check=True)
--- tests/inner/conftest.py
--- tests/inner/test_inner.py
def test_it():
    pass
--- tests/test_skips.py
import pytest

def test_it():
    pass

def test_other():
    pytest.skip("nothing to test with")
--- tests/test_fails.py
import os

def test_it():
    pass

def test_other():
    assert "PASSES" in os.environ
--- tests/test_writes.py
import time
from pathlib import Path

def test_it():
    text = Path("docs/unread.txt").read_text()
    Path("docs/unread.txt").write_text(text)  # as if someone changed it meanwhile
""",
        re.MULTILINE | re.DOTALL,
    )
)
NEVER = {"test_skips.py::test_other", "test_fails.py", "test_writes.py"}
# What is repeated after a change of a file, besides the tests that depend on every file.
CHANGES = {
    "docs/unread.txt": set(),
    "tests/test_skips.py": {"test_skips.py"},
    "tests/inner/conftest.py": {"inner/test_inner.py"},
    "src/llmguide/public.py": {"test_public.py", "test_package.py"},
    "src/llmguide/direct.py": {"test_direct.py", "test_package.py"},
    "src/llmguide/late.py": {"test_direct.py", "test_package.py"},
    "src/llmguide/computed/one.py": {"test_computed.py", "test_package.py"},
    "src/llmguide/in_a_doctest.py": {"src/llmguide/shown.py", "test_exec.py", "test_package.py"},
    "src/llmguide/program.py": {"test_python.py", "test_package.py"},
    "docs/child.txt": {"test_python.py"},
    "docs/fork.txt": {"test_fork.py"},
    "docs/node.txt": {"test_node.py"},
    "docs/cached.txt": {"test_cached_1.py", "test_cached_2.py"},
    "docs/import.txt": {"test_import.py"},
    "docs/a.md": {"test_pages.py::test_page[a]", "test_together.py"},
    "src/llmguide/table.json": {"test_data.py"},
    "tests/bare/script.py": {"test_bare.py"},
    "tests/bare/beside.py": {"test_bare.py"},
}
# New files: some are listed, asked for, or imported in place of another.
CHANGES |= {
    "docs/new.txt": {"test_git.py"},
    "src/llmguide/computed/new.txt": {"test_git.py", "test_lists.py"},
    "src/llmguide/absent.py": {"test_git.py", "test_asks.py", "test_package.py"},
    "src/llmguide/late/__init__.py": {"test_git.py", "test_direct.py", "test_package.py"},
    "src/llmguide/computed/two.py": {"test_git.py", "test_lists.py", "test_computed.py", "test_package.py"},
    "tests/inner/inner/conftest.py": {"test_git.py"},
    "tests/bare/new.py": {"test_git.py", "test_bare.py"},
}
EVERYTHING = ("conftest.py", "pyproject.toml", "constraints.txt", "tests/conftest.py", "src/numpy.py")
SURROUNDINGS = {
    "a variable": "os.environ['LLMGUIDE_TEST_SEED'] = '1'",
    "a version": "inputs.distributions = lambda: []",
    "a processor": "inputs._processor = lambda: 'another'",
}
PLAN = """
import json, os, sys
from pathlib import Path
from tests.kept import inputs, still_pass

def kept():
    for cached in [*vars(inputs).values(), *vars(inputs.imports).values()]:
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
    around = inputs.surroundings()
    records = [json.loads(path.read_text()) for path in Path(".cache/tests").rglob("*.json")]
    return [test for record in records for test in still_pass(record, around)]

found = {"": kept()}
files, statements = json.loads(sys.argv[1])
for name in files:
    path = Path(name)
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((before or b"") + b"\\n")
    found[name] = kept()
    path.unlink() if before is None else path.write_bytes(before)
for name, statement in statements.items():
    exec(statement)
    found[name] = kept()
print(json.dumps(found))
"""


def in_repository(place: Path, *command: str, **variables: str) -> str:
    ours = ("LLMGUIDE_", "KEPT_", "PYTEST_", "NODE_OPTIONS")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment = plain | {"PYTHONPATH": f"{place}:{place}/src"} | variables
    command = (sys.executable, *command)
    return subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    ).stdout


def run(place: Path, *options: str, of: str = "tests", **variables: str) -> set[str]:
    """The tests that have passed."""
    pytest_keep = ("-m", "pytest", "-q", "-rA", "--keep", ".cache/tests", "--ignore=tests/kept")
    lines = in_repository(place, *pytest_keep, *options, of, **variables).splitlines()
    return {
        line.removeprefix("PASSED ").removeprefix("tests/") for line in lines if line.startswith("PASSED")
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small repository."""
    place = tmp_path_factory.mktemp("repository").resolve()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, place / name)
    for name, text in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    return place


@pytest.fixture(scope="module")
def ran(folder: Path) -> set[str]:
    """What passed in the first run."""
    return run(folder, "-n", "1", "--dist", "loadfile", "src/llmguide")


@pytest.fixture(scope="module")
def kept(folder: Path, ran: set[str]) -> dict[str, set[str]]:
    """What would be left out after each change."""
    changes = json.dumps([[*CHANGES, *EVERYTHING], SURROUNDINGS])
    found = json.loads(in_repository(folder, "-c", PLAN, changes))
    return {name: {test.removeprefix("tests/") for test in tests} for name, tests in found.items()}


def among(test: str, names: set[str]) -> bool:
    """Whether names have a test or its file."""
    return bool({test, test.partition("::")[0]} & names)


def test_what_has_passed_is_left_out(ran: set[str], kept: dict[str, set[str]]) -> None:
    assert len(ran) > 15
    assert kept[""] == {test for test in ran if not among(test, NEVER)}


@pytest.mark.parametrize("changed", CHANGES)
def test_a_change_repeats_what_depends_on_it(kept: dict[str, set[str]], changed: str) -> None:
    of_package = changed.startswith("src/llmguide/") and changed.endswith(".py")
    wanted = CHANGES[changed] | {"test_unwatched.py"} | ({"test_types.py"} if of_package else set())
    repeated = {test for test in kept[""] if among(test, wanted)}
    assert kept[""] - kept[changed] == repeated


@pytest.mark.parametrize("changed", [*EVERYTHING, *SURROUNDINGS])
def test_settings_what_can_hide_a_package_and_the_surroundings_repeat_everything(
    kept: dict[str, set[str]], changed: str
) -> None:
    assert kept[changed] == set()


def test_failures_are_repeated_until_the_whole_file_passes(folder: Path, kept: dict[str, set[str]]) -> None:
    file = "tests/test_fails.py"
    assert run(folder, of=file) == {"test_fails.py::test_it"}
    assert run(folder, of=file, PASSES="1") == {"test_fails.py::test_it", "test_fails.py::test_other"}
    assert run(folder, of=file, PASSES="1") == set()


def test_a_run_with_nothing_to_repeat_succeeds(folder: Path, kept: dict[str, set[str]]) -> None:
    command = "import pytest; print(int(pytest.main(['--keep', '.cache/tests', 'tests/test_public.py'])))"
    assert in_repository(folder, "-c", command).endswith("\n0\n")
