"""A lab runs in an empty folder with no more than its first cell installs."""

import ast
import os
import re
import shlex
import subprocess
import sys

import pytest
from site_tools import ROOT
from site_tools.cells import labs
from tests.installed import hidden_by, imported, required

PROGRAM = """
import sys
sys.path.append({root!r})
from tests.installed import hide_all_but
hide_all_but({requirements!r})
sys.path.remove({root!r})
"""
LABS = pytest.mark.parametrize("path", labs.paths(), ids=lambda path: path.stem)


def installed(path):
    """Requirements of the first cell of a lab, with those of the extras of the package."""
    command = re.search(r"^# %pip install --quiet (.*)$", path.with_suffix(".py").read_text(), re.MULTILINE)
    assert command, f"{path.stem} has no cell that installs"
    return required([requirement.partition(" @ ")[0] for requirement in shlex.split(command[1])])


# The labs, by what they install.
ALIKE = {}
for lab in labs.paths():
    ALIKE.setdefault(tuple(installed(lab)), []).append(lab)


def run(path, code, folder, timeout):
    setup = PROGRAM.format(root=str(ROOT), requirements=installed(path))
    environment = {**os.environ, **labs.ENVIRONMENT, "MPLBACKEND": "agg"}
    environment.pop("LLMGUIDE_DATA", None)
    done = subprocess.run(
        [sys.executable, "-c", f"{setup}\n{code}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir())
    return done.stdout


def imports_of(path):
    """The imports of a lab, as one statement whose errors name the lab."""
    tree = ast.parse(labs.code(path.relative_to(ROOT).as_posix()))
    imports = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports
    code = "\n".join(imports)
    return f"exec(compile({code!r}, {path.stem!r}, 'exec'))"


@LABS
def test_a_lab_imports_only_packages_that_its_first_cell_installs(path):
    tree = ast.parse(labs.code(path.relative_to(ROOT).as_posix()))
    assert not imported([tree]) & hidden_by(installed(path))


# One process for all labs that install the same, because what is hidden from one is hidden from all of them.
@pytest.mark.nightly
@pytest.mark.parametrize("paths", ALIKE.values(), ids=lambda paths: paths[0].stem)
def test_what_a_lab_imports_needs_only_what_its_first_cell_installs(paths, tmp_path):
    run(paths[0], "\n".join(map(imports_of, paths)), tmp_path, timeout=300)


def test_a_package_that_is_not_installed_is_missed(tmp_path):
    """So that the tests above can fail."""
    path = next(path for path in labs.paths() if path.stem == "character-model")
    with pytest.raises(AssertionError, match="No module named 'transformers'"):
        run(path, "import matplotlib, llmguide\nimport transformers", tmp_path, timeout=300)


@pytest.mark.nightly
@LABS
def test_a_lab_runs_with_what_its_first_cell_installs(path, tmp_path):
    assert run(path, labs.code(path.relative_to(ROOT).as_posix()), tmp_path, timeout=900)
