"""The built wheel holds the whole package and works with the core dependencies alone."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Imports every module of the unpacked wheel, hiding what a plain `pip install llmguide` would not bring.
IMPORT_ALL = r"""
import pkgutil, sys
sys.path.insert(0, TESTS)
from tests.installed import hide_all_but
hide_all_but(DEPENDENCIES)
sys.path.remove(TESTS)
sys.path.insert(0, WHEEL)
import llmguide
assert llmguide.__file__.startswith(WHEEL), llmguide.__file__
assert "torch" not in sys.modules
modules = [m.name for m in pkgutil.walk_packages(llmguide.__path__, "llmguide.")]
modules.remove("llmguide.__main__")  # runs the command
for name in modules:
    if not name.startswith(NEED_EXTRAS) and not name.endswith(".app"):
        __import__(name)

from llmguide.tokenization.tokenizer import Tokenizer
tokenizer = Tokenizer.train("low lower lowest", 260)
assert tokenizer.decode(tokenizer.encode("lower ☂")) == "lower ☂"
print(len(modules))
"""


# modules that are there for an optional library: the command line's, datatrove's blocks, the applications'
NEED_EXTRAS = (
    "llmguide.cli.",
    "llmguide.data.cleaning.datatrove",
    "llmguide.projects.webapp.",
    "llmguide.site_server.",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w"]
    subprocess.run([*command, folder, ROOT], check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_a_release_brings_the_site_that_serve_opens(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    package = tmp_path / "src" / "llmguide"
    (package / "site").mkdir(parents=True)
    shutil.copy(ROOT / "src" / "llmguide" / "__init__.py", package)
    (package / "site" / "index.html").write_text("<h1>The guide</h1>")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (path,) = (tmp_path / "dist").glob("*.whl")
    assert "llmguide/site/index.html" in zipfile.ZipFile(path).namelist()


def test_the_wheel_holds_every_module_and_the_type_marker(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    assert names == {
        str(p.relative_to(source)) for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }


def test_the_wheel_works_with_the_core_dependencies_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {
        "TESTS": str(ROOT),
        "WHEEL": str(tmp_path),
        "DEPENDENCIES": dependencies,
        "NEED_EXTRAS": NEED_EXTRAS,
    }
    program = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + IMPORT_ALL
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    modules = list((ROOT / "src" / "llmguide").rglob("*.py"))
    assert int(result.stdout) == len(modules) - 2  # without the package itself and __main__
