"""A proof is repeated when anything that its code can run has changed, and only then."""

import subprocess
import sys

import pytest
from site_tools import ROOT
from site_tools.cells import imports
from site_tools.cells.imports import files, hash_of_imports


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a small package in place of the repository's, and a function that writes it anew."""
    for name in ("SOURCES", "ROOT"):
        monkeypatch.setattr(imports, name, tmp_path)
    monkeypatch.setattr(imports, "_LAZY", tmp_path / "llmguide" / "__init__.py")
    monkeypatch.setattr(imports, "_READ", {tmp_path / "llmguide" / "__init__.py"})
    contents = {
        "llmguide/__init__.py": "",
        "llmguide/__init__.pyi": "from llmguide.nn.heads import attend as attend",
        "llmguide/nn/__init__.py": "",
        "llmguide/nn/heads.py": "def attend():\n    from llmguide.nn import masks",
        "llmguide/nn/masks.py": "",
        "llmguide/other.py": "",
        "llmguide/table.json": "1",
        "site_tools/__init__.py": "",
        "site_tools/slots.py": "",
        "llmguide/pages/project_records/a/seed-0.json": "1",
        "constraints.txt": "torch==2.13.0",
    }

    def store(**changed):
        for cached in (imports._python, imports.data, imports._imports_of, imports._public):
            cached.cache_clear()
        for name, text in (
            contents | {f"{key}.py".replace("__", "/"): changed[key] for key in changed}
        ).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    store()
    yield tmp_path, store
    for cached in (imports._python, imports.data, imports._imports_of, imports._public):
        cached.cache_clear()


def names(folder, code):
    return {
        path.relative_to(folder / "llmguide").as_posix() for path in files(code) if "llmguide" in path.parts
    }


def test_imports_are_followed_through_public_names_packages_and_functions(package):
    folder, _ = package
    wanted = {"__init__.py", "nn/__init__.py", "nn/heads.py", "nn/masks.py"}
    assert names(folder, "from llmguide import attend") == wanted
    assert names(folder, "import llmguide.nn.heads as heads") == wanted
    assert names(folder, "from importlib import import_module\nimport_module('llmguide.other')") == {
        "__init__.py",
        "other.py",
    }


@pytest.mark.parametrize(
    "heads",
    [
        "from importlib import import_module\nimport_module(name)",
        "__import__(name)",
        "import subprocess, sys\nsubprocess.run([sys.executable, file])",
        "import runpy\nrunpy.run_path(file)",
    ],
)
def test_what_could_run_anything_depends_on_everything(package, heads):
    folder, store = package
    store(llmguide__nn__heads=heads)
    assert "other.py" in names(folder, "from llmguide import attend")
    assert "other.py" not in names(folder, "import llmguide.nn.masks")


def test_a_magic_command_depends_on_everything(package):
    assert "other.py" in names(package[0], "%run other")


@pytest.mark.parametrize(
    ("file", "repeats"),
    [
        ("llmguide/nn/heads.py", True),
        ("llmguide/nn/masks.py", True),
        ("llmguide/nn/__init__.py", True),
        ("llmguide/table.json", True),
        ("site_tools/slots.py", True),
        ("constraints.txt", True),
        ("llmguide/other.py", False),
        ("llmguide/pages/project_records/a/seed-0.json", False),
    ],
)
def test_a_change_repeats_the_proofs_that_depend_on_it(package, file, repeats):
    folder, store = package
    before = hash_of_imports("from llmguide import attend")
    store()
    (folder / file).write_text((folder / file).read_text() + "\n# changed")
    assert (hash_of_imports("from llmguide import attend") != before) == repeats


def test_all_that_a_program_loads_is_among_its_files():
    code = "from llmguide import PPOTrainer, generate, load\nimport llmguide.interpretability.patching\n"
    program = (
        code + "import sys\nprint(*(getattr(m, '__file__', '') for m in [*sys.modules.values()]), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    own = {line for line in done.stdout.splitlines() if line.startswith(str(ROOT / "src"))}
    assert len(own) > 20
    assert own <= {str(path) for path in files(code)}
    assert len(files(code)) < len(imports._python()) / 2
