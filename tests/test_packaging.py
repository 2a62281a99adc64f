"""The built wheel holds the whole package and works with the core dependencies alone."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Imports every module of the unpacked wheel, hiding what a plain `pip install llmguide` would not bring.
IMPORT_ALL = r"""
import importlib.metadata as metadata, pkgutil, re, sys

core, todo = set(), [re.match(r"[\w.-]+", requirement)[0] for requirement in DEPENDENCIES]
while todo:
    name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
    try:
        requires = metadata.requires(name) if name not in core else []
    except metadata.PackageNotFoundError:
        continue
    core.add(name)
    todo += [re.match(r"[\w.-]+", r)[0] for r in requires or [] if "extra ==" not in r]

def is_core(distribution):
    return re.sub(r"[-_.]+", "-", distribution).lower() in core

owners_of = metadata.packages_distributions()
hidden = {module for module, owners in owners_of.items() if not any(map(is_core, owners))} - {"llmguide"}

class Hide:
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"hidden: {fullname}")

sys.meta_path.insert(0, Hide())
sys.path.insert(0, WHEEL)
import llmguide
assert llmguide.__file__.startswith(WHEEL), llmguide.__file__
assert "torch" not in sys.modules
modules = [m.name for m in pkgutil.walk_packages(llmguide.__path__, "llmguide.")]
for name in modules:
    __import__(name)

from llmguide.tokenizer import Tokenizer
tokenizer = Tokenizer.train("low lower lowest", 260)
assert tokenizer.decode(tokenizer.encode("lower ☂")) == "lower ☂"
print(len(modules))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w"]
    subprocess.run([*command, folder, ROOT], check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_module_and_the_type_marker(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    assert names == {
        str(p.relative_to(source)) for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }


def test_the_wheel_works_with_the_core_dependencies_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    program = f"WHEEL = {str(tmp_path)!r}\nDEPENDENCIES = {dependencies!r}\n{IMPORT_ALL}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    modules = list((ROOT / "src" / "llmguide").rglob("*.py"))
    assert int(result.stdout) == len(modules) - 1  # without the package itself
