"""The notebook of a page runs in an empty folder, with the wheel and no more than its first cell installs."""

import ast
import json
import os
import shlex
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from site_tools import DOCS, ROOT, page_paths
from site_tools.cells.notebooks import notebook
from tests.installed import hidden_by, imported, required

# Python executes this when it starts. What is left is the wheel, the standard library and what pip installs.
SETUP = """
import sys
sys.path.append({root!r})
from tests.installed import hide_all_but
hide_all_but({requirements!r})
is_installed = lambda path: path.startswith(sys.base_prefix) or "site-packages" in path
sys.path[:] = [{wheel!r}, *filter(is_installed, sys.path)]
del sys.modules["tests"], sys.modules["tests.installed"]
"""
EXECUTED = (
    "learn/concepts/sampling.md",  # facts, and the small model
    "learn/attention.md",  # tables, figures and diagrams
    "projects/reward-model.md",  # records of a project
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w"]
    subprocess.run([*command, folder, ROOT], check=True)
    (path,) = folder.glob("*.whl")
    zipfile.ZipFile(path).extractall(folder / "unpacked")
    return folder / "unpacked"


def made(page: str) -> dict[str, Any]:
    """The notebook of a page that has one."""
    found = notebook((DOCS / page).read_text(encoding="utf-8"), page)
    assert found is not None, page
    return found


def installed(first: str) -> tuple[str, ...]:
    """Requirements of the first cell, with those of the extras of the package."""
    command = shlex.split(first)
    assert command[:2] == ["%pip", "install"]
    packages = [word for word in command[2:] if not word.startswith("--")]
    return tuple(required(package.partition(" @ ")[0] for package in packages))


def environment(wheel: Path, folder: Path, requirements: tuple[str, ...]) -> dict[str, str]:
    """Variables of a Python that has the wheel and these requirements."""
    (folder / "setup").mkdir()
    setup = SETUP.format(root=str(ROOT), wheel=str(wheel), requirements=(*requirements, "ipykernel"))
    (folder / "setup" / "sitecustomize.py").write_text(setup, encoding="utf-8")
    (folder / "empty").mkdir()
    return {**os.environ, "PYTHONPATH": str(folder / "setup"), "OMP_NUM_THREADS": "1"}


def shown(cells: list[Any]) -> list[list[str]]:
    """The kinds of what each cell with code displays."""
    displays = [
        [output["data"] for output in cell["outputs"] if output["output_type"] == "display_data"]
        for cell in cells
        if cell["cell_type"] == "code"
    ]
    return [[kind for data in found for kind in data if kind != "text/plain"] for found in displays]


@pytest.mark.nightly
@pytest.mark.parametrize("page", EXECUTED)
def test_a_notebook_runs_and_shows_what_the_page_shows(page: str, wheel: Path, tmp_path: Path) -> None:
    found = nbformat.from_dict(made(page))
    install, *cells = found.cells
    found.cells = [*cells, nbformat.v4.new_code_cell("import llmguide; print(llmguide.__file__)")]
    stored = shown(cells)
    client = NotebookClient(
        found, kernel_name="python3", timeout=600, resources={"metadata": {"path": str(tmp_path / "empty")}}
    )
    client.execute(env=environment(wheel, tmp_path, installed(install.source)))
    assert found.cells[-1].outputs[0].text.startswith(str(wheel))
    assert any(stored)
    assert shown(found.cells[:-1]) == stored
    assert not list((tmp_path / "empty").iterdir())


def trees_of(cells: list[dict[str, Any]]) -> list[ast.AST]:
    return [ast.parse(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def imports_of(page: str, cells: list[dict[str, Any]]) -> str:
    """The imports of a notebook, as one statement whose errors name the page."""
    nodes = [node for tree in trees_of(cells) for node in ast.walk(tree)]
    imports = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return f"exec(compile({chr(10).join(imports)!r}, {page!r}, 'exec'))"


# It imports what every notebook installs, and then forks a process for all notebooks that install the same,
# because what is hidden from one is hidden from all of them.
IMPORT_ALL = f"""
import json, os, sys, traceback
import numpy, torch
sys.path.append({str(ROOT)!r})
from tests.installed import hide_all_but
sys.path.pop()
del sys.modules["tests"], sys.modules["tests.installed"]
failed = False
for requirements, imports in json.load(sys.stdin):
    if child := os.fork():
        failed |= os.waitpid(child, 0)[1] != 0
        continue
    sys.meta_path[:] = [without.finder for without in sys.meta_path]
    hide_all_but(requirements)
    status = 1
    try:
        exec(imports)
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)
sys.exit(failed)
"""


def test_notebooks_import_only_packages_that_their_first_cells_install() -> None:
    hidden = cache(hidden_by)
    for path in page_paths():
        if found := notebook(path.read_text(encoding="utf-8"), name := path.relative_to(DOCS).as_posix()):
            install, *rest = found["cells"]
            missing = imported(trees_of(rest)) & hidden((*installed(install["source"]), "ipykernel"))
            assert not missing, f"{name}: the first cell does not install {missing}"


@pytest.mark.nightly
@pytest.mark.skipif(os.name != "posix", reason="fork")
def test_what_notebooks_import_needs_only_what_their_first_cells_install(wheel: Path, tmp_path: Path) -> None:
    alike: dict[tuple[str, ...], list[str]] = {}
    for path in page_paths():
        if found := notebook(path.read_text(encoding="utf-8"), name := path.relative_to(DOCS).as_posix()):
            install, *rest = found["cells"]
            alike.setdefault(installed(install["source"]), []).append(imports_of(name, rest))
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        input=json.dumps([((*names, "ipykernel"), "\n".join(imports)) for names, imports in alike.items()]),
        cwd=tmp_path,
        env=environment(wheel, tmp_path, tuple(required(["llmguide"]))),
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(alike) > 1
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_not_installed_is_missed(wheel: Path, tmp_path: Path) -> None:
    """So that the tests above can fail."""
    assert {"matplotlib", "transformers"} <= hidden_by(required(["llmguide"]))
    variables = environment(wheel, tmp_path, tuple(required(["llmguide"])))
    program = """
import importlib
import llmguide
for name in ("matplotlib", "site_tools", "tests"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    missed = ("matplotlib", "site_tools", "tests")
    assert done.stdout.splitlines() == [f"No module named '{name}'" for name in missed]
