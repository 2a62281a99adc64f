"""What a file of tests depends on, and the hash of each of its inputs.

An input is the path of a file relative to the repository; a folder, which ends in a slash and stands for
the names in it; a path with a question mark, which stands for whether there is a file; or a group of files,
which begins with an asterisk.
"""

import ast
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from site_tools import CACHE, DOCS, ROOT
from site_tools.browser import chromium
from site_tools.cells import imports

from tests.kept.watch import Note

SITE = ROOT / os.environ.get("SITE_DIR", "site")
ALL, NAMES, PYTHON, SCRIPTS = "*", "*names", "*.py", "*.js"
PACKAGE, DATA = "*src/llmguide", "*data of src/llmguide"
# What programs keep for themselves, and what the versions of packages determine.
_NOT_READ = {".git", ".venv", "node_modules", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache"}
_MADE = (DOCS, SITE, CACHE)  # where programs add files that git ignores
_IMPORTED_FROM = (ROOT, ROOT / "src", ROOT / "runtime")
_VARIABLES = ("LLMGUIDE_", "PYTHON", "OMP_", "MKL_", "ATEN_", "ONEDNN_", "OPENBLAS_", "TORCH", "CUDA", "HF_")
_VARIABLES += ("TRANSFORMERS_", "OPENAI_", "LC_", "LANG", "TZ", "CI", "CHROMIUM", "FIREFOX", "SITE_DIR")
_SETTINGS = ("pyproject.toml", "constraints.txt", "requirements.lock", "package.json", "package-lock.json")


def surroundings() -> str:
    """The hash of what every test depends on: versions, machine, variables, and what can hide a package."""
    programs = [os.environ.get("FIREFOX") or "firefox", "node", "git"]
    try:
        programs.append(chromium())
    except FileNotFoundError:
        programs.append("")
    own = [path for path in sorted(Path(__file__).parent.rglob("*")) if path.suffix in {".py", ".cjs"}]
    parts = [
        imports.versions(),
        [platform.platform(), os.cpu_count(), _processor()],
        [_program(name) for name in programs],
        {name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)},
        _data_folder(),
        [_names_in(folder) for folder in _IMPORTED_FROM],
        [hash_of(name) for name in _SETTINGS],
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in own],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _processor() -> str:
    """Its name and instructions: results depend on how it rounds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _program(name: str) -> list[object]:
    found = shutil.which(name)
    if not found:
        return []
    status = Path(found).resolve().stat()
    return [str(Path(found).resolve()), status.st_size, status.st_mtime_ns]


def _data_folder() -> list[tuple[str, int, int]]:
    folder = os.environ.get("LLMGUIDE_DATA", "")
    files = [path for path in Path(folder).rglob("*") if path.is_file()] if folder else []
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@cache
def repository() -> tuple[Path, ...]:
    """Every file of the repository that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(path for name in set(names.split("\0")) if name and (path := ROOT / name).is_file()))


@cache
def _names_in(folder: Path) -> list[str]:
    """The names in a folder, of files that git does not ignore and of folders with such files."""
    depth = len(folder.parts)
    return sorted({path.parts[depth] for path in repository() if path.is_relative_to(folder)})


@cache
def _files_present() -> frozenset[Path]:
    return frozenset(repository())


@cache
def _present() -> frozenset[Path]:
    """The files of the repository, and their folders."""
    return _files_present().union(*(path.parents for path in repository()))


@cache
def _group(name: str) -> tuple[Path, ...]:
    if name == DATA:
        return tuple(path for path in imports.data() if path.is_relative_to(imports.SOURCES))
    if name in {PYTHON, SCRIPTS}:
        suffixes = (".py", ".pyi") if name == PYTHON else (".js", ".mjs", ".ts", ".css", ".json", ".svg")
        return tuple(path for path in repository() if path.suffix in suffixes)
    if name == PACKAGE:
        return tuple(path for path in _group(PYTHON) if path.is_relative_to(ROOT / "src"))
    made = (path for folder in (DOCS, SITE) for path in folder.rglob("*") if path.is_file())
    return tuple(sorted({*repository(), *made}))


def _files(name: str) -> tuple[Path, ...]:
    return _group(name) if name.startswith("*") else (ROOT / name,)


@cache
def hash_of(name: str) -> str:
    """The hash of an input."""
    if name.endswith("?"):
        return str(ROOT / name[:-1] in _present())
    if name.endswith("/") or name == NAMES:
        return hashlib.sha256("\0".join(_names(name)).encode()).hexdigest()
    if name.startswith("*"):
        digests = [f"{path} {hash_of(path.relative_to(ROOT).as_posix())}" for path in _group(name)]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()
    path = ROOT / name
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "absent"


def _names(name: str) -> list[str]:
    """The names that an input stands for."""
    folder = ROOT / name
    if name == NAMES:
        return [str(path.relative_to(ROOT)) for path in repository()]
    if not any(map(folder.is_relative_to, _MADE)):
        return _names_in(folder)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"absent"}
    return sorted(names - {"__pycache__"})


def has_changed(name: str, since: int) -> bool:
    """Whether an input has been written since a time in nanoseconds, and may not be what a test has read.

    Names of the repository are hashed as they were at the start (`repository`), so that a later plan sees a
    change.
    """
    is_made = any(map((ROOT / name).is_relative_to, _MADE))
    if name == NAMES or name.endswith("?") or (name.endswith("/") and not is_made):
        return False
    for path in _files(name):
        changed = _change_of(path)
        if not changed and any(map(path.is_relative_to, _MADE)):  # it may have been there
            changed = _change_of(path.parent)
        if changed > since:
            return True
    return False


def _change_of(path: Path) -> int:
    """When an entry last changed; of a file that is moved or restored, its content may be older."""
    try:
        return path.stat().st_ctime_ns
    except (FileNotFoundError, NotADirectoryError):
        return 0


def named(notes: Iterable[Note]) -> set[str]:
    """The inputs that these notes of a watch name."""
    found, asked = set(), set()
    for kind, what in notes:
        if kind == "start":
            found.add(SCRIPTS if what.endswith("/node_modules/.bin/esbuild") else ALL)
        elif kind == "names":
            found.add(NAMES)
        elif kind == "package":
            found |= {PACKAGE, DATA}
        elif kind == "code":
            found.add(PACKAGE)
        elif kind in {"read", "list", "ask"} and (name := _source(what)):
            if kind != "ask":
                found.add(name if kind == "read" else f"{name}/")
            elif not any(map((ROOT / name).is_relative_to, (SITE, CACHE))):  # which git ignores
                asked.add(name)
    return found | {f"{name}?" for name in asked - found}


@cache
def _source(read: str) -> str:
    """The name of the file that a person or program wrote; empty if a test does not depend on it."""
    path = Path(read)
    parts = path.relative_to(ROOT).parts
    if {*parts[:1]} & _NOT_READ or path.is_relative_to(sys.prefix):
        return ""
    if "__pycache__" in parts:
        if path.suffix != ".pyc":
            return ""
        path = path.parent.parent / f"{path.name.partition('.')[0]}.py"
    return path.relative_to(ROOT).as_posix()


def closure(files: Iterable[str], names: Iterable[str]) -> tuple[set[str], set[str]]:
    """The Python files that files and imports can run, and groups of files where their source is silent."""
    wanted = {ROOT / file for file in files if file.endswith(".py")}
    groups = {PACKAGE} & {PACKAGE for name in names if name == "llmguide"}
    wanted = wanted.union(*map(_places, names))
    found = set[Path]()
    while wanted:
        path = wanted.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        paths, more = _imports_of(path)
        wanted |= paths
        groups |= more
    return {path.relative_to(ROOT).as_posix() for path in found}, groups


@cache
def _imports_of(path: Path) -> tuple[frozenset[Path], frozenset[str]]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError:
        return frozenset(), frozenset({PYTHON})
    base = ROOT / "src" if path.is_relative_to(ROOT / "src") else ROOT
    importer = ".".join(path.relative_to(base).with_suffix("").parts)
    names = imports._names(tree, importer)
    paths, groups = set[Path]().union(*map(_places, names)), set[str]()
    if "llmguide" in names or "llmguide.*" in names:
        groups.add(PACKAGE)  # whose names are then attributes
    for node in ast.walk(tree) if path not in imports._READ else ():
        if isinstance(node, ast.Call) and imports._called(node) in {"import_module", "__import__"}:
            package = _package(node, importer)
            if package is None:
                groups.add(PYTHON)
            else:
                paths |= package
    return frozenset(paths), frozenset(groups)


def _package(call: ast.Call, importer: str) -> set[Path] | None:
    """The files of the package whose name begins a computed import; None if that is computed, too."""
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Constant):
        return _places(str(first.value))
    if not isinstance(first, ast.JoinedStr):
        return None
    begin = "".join(
        str(part.value)
        if isinstance(part, ast.Constant)
        else importer.removesuffix(".__init__")
        if isinstance(part, ast.FormattedValue) and getattr(part.value, "id", "") == "__name__"
        else "\0"
        for part in first.values
    ).partition("\0")[0]
    folder = (ROOT / "src").joinpath(*begin.split(".")[:-1])
    inside = begin.startswith("llmguide.") and begin.count(".") > 0 and folder.is_dir()
    return set(folder.rglob("*.py")) if inside else None


@cache
def _places(name: str) -> frozenset[Path]:
    """The files that are executed where a dotted name is imported, those of its packages included."""
    parts = imports._public().get(name, name).split(".")
    if parts[0] == "torch":  # of runtime only in programs that tests start, which are watched
        return frozenset()
    places = [
        base.joinpath(*parts[:length])
        for base in (ROOT / "src", ROOT, ROOT / "runtime")
        for length in range(1, len(parts) + 1)
    ]
    files = {path for place in places for path in (place.with_suffix(".py"), place / "__init__.py")}
    return _files_present() & files
