"""Imports of the package point one way: a folder imports only folders that come before it in the guide."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest
from site_tools.content.reference import FOLDERS, PACKAGE

# modules beside the folders, which every folder may import
ROOTS = ("arguments", "config", "extras", "files", "presets", "rope_scaling")
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or path.stem in ROOTS
}


def imported(name: str) -> Iterator[str]:
    """Modules of the package that a module imports when it runs, at its top or later."""
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    for_types = [
        node for node in blocks if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    unseen = {child for block in for_types for child in ast.walk(block)}
    for node in ast.walk(tree):
        if node in unseen:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("llmguide."):
            base = node.module.removeprefix("llmguide.")
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in FILES else base
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (name.removeprefix("llmguide.") for name in names if name.startswith("llmguide."))


def test_every_folder_is_listed() -> None:
    assert {name.partition(".")[0] for name in FILES} == {*ROOTS, *FOLDERS}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_module_imports_only_from_its_own_folder_and_those_before_it(name: str) -> None:
    places = dict.fromkeys(ROOTS, -1) | {folder: i for i, folder in enumerate(FOLDERS)}
    own = places[name.partition(".")[0]]
    later = [other for other in imported(name) if places[other.partition(".")[0]] > own]
    assert not later, f"llmguide.{name} imports {later}, whose folder comes later in {' '.join(FOLDERS)}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: {other for other in imported(name) if other != name} for name in FILES}
    for name, others in graph.items():
        # a folder's __init__ gathers names from its modules, which may import from their siblings
        graph[name] = {other for other in others if not name.startswith(f"{other}.")}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
