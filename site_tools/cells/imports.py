"""What code can run: the files of this repository that it imports, and those that they import in turn.

A proof is kept under the hash of these files, so that a change elsewhere does not repeat it. Imports are read
from the source, those inside functions too, whether or not they are reached. A file that imports by a
computed name, or starts another Python, could run anything, and depends on every file.
"""

import ast
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from site_tools import ROOT, hash_of

SOURCES = ROOT / "src"
_OTHERS = {"site", "project_records"}  # folders of data that pages do not depend on, or name
_FACTS = SOURCES / "llmguide" / "pages" / "facts.toml"  # of which a page's own facts count (run_pages.py)
_LAZY = SOURCES / "llmguide" / "__init__.py"  # imports the names of its stub
# Import what others publish, or start pip, or the worker of the sandbox, whose code they import.
_READ = {_LAZY} | {
    SOURCES / "llmguide" / name for name in ("extras.py", "data/fetch.py", "coding/sandbox/process.py")
}


def hash_of_imports(code: str, *beside: Path) -> str:
    """The SHA-256 of what the code of a page depends on.

    These are the files that it can run, those of its runner (slots.py), the data beside them, and the pinned
    versions.

    Args:
        code: Python, the cells of a page for example.
        beside: More files, whose imports are not followed.
    """
    python = files(code)
    folders = {path.parent for path in python}
    used = {path for path in data() if _package_of(path) in folders and path != _FACTS}
    if any(map(_reads_facts, python)):
        used.add(_FACTS)
    return hash_of(sorted({*python, *used, ROOT / "constraints.txt", *beside}))


@cache
def _package_of(path: Path) -> Path:
    """The folder of the modules beside a file of data, which are the ones that read it."""
    return next(folder for folder in path.parents if (folder / "__init__.py").is_file())


@cache
def _reads_facts(path: Path) -> bool:
    """Whether a module of the package asks for a fact, other than those that lend `fact` to pages."""
    is_apart = path.parent == _FACTS.parent or not path.is_relative_to(SOURCES)
    return not is_apart and bool(re.search(r"\b(all_facts|fact)\(", path.read_text(encoding="utf-8")))


def files(code: str) -> set[Path]:
    """The Python files that code and its runner can run."""
    try:
        found = closure(_imports(ast.parse(code), "") | _places("site_tools.slots"))
    except SyntaxError:  # a magic command of a notebook
        found = None
    return set(_python()) if found is None else found


def closure(paths: Iterable[Path]) -> set[Path] | None:
    """These files and all that they can import; None if their source does not tell."""
    wanted, found = set(paths), set[Path]()
    while wanted:
        path = wanted.pop()
        found.add(path)
        imports = _imports_of(path)
        if imports is None:
            return None
        wanted |= imports - found
    return found


@cache
def versions() -> str:
    """The versions of Python and of all installed packages, pinned or not."""
    found = {f"{each.metadata['Name']} {each.version}" for each in distributions()}
    return "\n".join([sys.version, *sorted(found)])


@cache
def _python() -> list[Path]:
    return [path for folder in (SOURCES / "llmguide", ROOT / "site_tools") for path in folder.rglob("*.py")]


@cache
def data() -> list[Path]:
    """The data of the package, but for the records of projects, which few pages read."""
    inside = (path for path in (SOURCES / "llmguide").rglob("*") if path.is_file())
    return [path for path in inside if path.suffix not in {".py", ".pyc"} and not _OTHERS & {*path.parts}]


@cache
def _imports_of(path: Path) -> set[Path] | None:
    """The files that a file imports; None if that cannot be read from its source."""
    name = ".".join(path.relative_to(SOURCES if path.is_relative_to(SOURCES) else ROOT).with_suffix("").parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not path.is_relative_to(ROOT / "site_tools") and path not in _READ and not _is_readable(tree):
        return None
    return _imports(tree, name)


def _is_readable(tree: ast.Module) -> bool:
    """Whether all that a file can import is written in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "import_module" and not _literal(node):
            return False
        if isinstance(node, ast.Attribute) and node.attr == "executable":
            return False
    return not {"runpy", "__import__"} & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _literal(node: ast.Call) -> str:
    """The first argument of a call, if it is a text; else empty."""
    first = node.args[0] if node.args else None
    return str(first.value) if isinstance(first, ast.Constant) else ""


def _imports(tree: ast.Module, importer: str) -> set[Path]:
    return {place for name in _names(tree, importer) for place in _places(name)}


def _names(tree: ast.Module, importer: str) -> set[str]:
    """What a module imports, as absolute dotted names; ``from a import b`` gives ``a.b``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = importer.split(".")[: -node.level] if node.level else []
            origin = ".".join([*package, *([node.module] if node.module else [])])
            found |= {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and _called(node) == "import_module":
            found.add(_literal(node))
    return found


def _places(name: str) -> set[Path]:
    """The files that are executed where a dotted name is imported, those of its packages included."""
    name = _public().get(name, name)
    parts = name.split(".")
    if parts[0] not in {"llmguide", "site_tools", "tests"}:
        return set()
    found = set()
    for length in range(1, len(parts) + 1):
        place = (SOURCES if parts[0] == "llmguide" else ROOT).joinpath(*parts[:length])
        found |= {path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()}
    return found


@cache
def _public() -> dict[str, str]:
    """The module of each public name of the package."""
    stub = ast.parse(_LAZY.with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {f"llmguide.{alias.name}": str(node.module) for node in imports for alias in node.names}
