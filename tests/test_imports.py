"""Imports of the package point one way: a folder imports only folders that come before it in the guide."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter

from site_tools.content.reference import FOLDERS, PACKAGE

from llmguide import _MODULES

# modules beside the folders, which every folder may import
ROOTS = ("arguments", "extras", "files")
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or path.stem in ROOTS
}


def imported(name: str) -> Iterator[str]:
    """Modules of the package that a module imports when it runs, at its top or later, or for its types."""
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module == "llmguide":
            names = [_MODULES.get(alias.name, f"llmguide.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [beginning(node.args[0])]
        yield from filter(None, map(module_of, names))


def beginning(expression: ast.expr) -> str:
    """Value of a string, or what an f-string starts with; empty for other expressions."""
    first = expression.values[0] if isinstance(expression, ast.JoinedStr) else expression
    return str(first.value) if isinstance(first, ast.Constant) else ""


def module_of(path: str) -> str | None:
    """Longest part of a dotted path that is a module of the package."""
    first, *parts = path.split(".")
    modules = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((module for module in modules if module in FILES), None) if first == "llmguide" else None


def test_every_folder_is_listed() -> None:
    assert {name.partition(".")[0] for name in FILES} == {*ROOTS, *FOLDERS}


def test_modules_import_only_from_their_own_folder_and_those_before_it() -> None:
    places = dict.fromkeys(ROOTS, -1) | {folder: i for i, folder in enumerate(FOLDERS)}
    later = [
        f"llmguide.{name} imports {other}"
        for name in sorted(FILES)
        for other in imported(name)
        if places[other.partition(".")[0]] > places[name.partition(".")[0]]
    ]
    assert not later, f"these folders come later in {' '.join(FOLDERS)}: {later}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: {other for other in imported(name) if other != name} for name in FILES}
    for name, others in graph.items():
        # a folder's __init__ gathers names from its modules, which may import from their siblings
        graph[name] = {other for other in others if not name.startswith(f"{other}.")}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
