"""An environment in which pip has installed only some packages: imports of all others fail."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

SETTINGS = Path(__file__).parent.parent / "pyproject.toml"


def required(requirements: Iterable[str]) -> list[str]:
    """Return requirements with those of this package in the place of its name and extras.

    >>> "rich>=15" in required(["llmguide[cli]"]), "torch>=2.6" in required(["llmguide"])
    (True, True)
    """
    project = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))["project"]
    found = []
    for requirement in requirements:
        mine = re.fullmatch(r"llmguide(?:\[([\w,]+)\])?", requirement)
        if mine is None:
            found.append(requirement)
            continue
        found += project["dependencies"]
        for extra in mine[1].split(",") if mine[1] else []:
            found += required(project["optional-dependencies"][extra])
    return found


def hide_all_but(requirements: Iterable[str]) -> None:
    """Hide the packages that `pip install` of these requirements, without extras, would not bring."""
    hidden = hidden_by(requirements)
    sys.meta_path[:] = [_Without(finder, hidden) for finder in sys.meta_path]


def imported(trees: Iterable[ast.AST]) -> set[str]:
    """The top-level names of what code imports."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def hidden_by(requirements: Iterable[str]) -> set[str]:
    """The modules of installed packages that these requirements, without extras, would not bring."""
    brought: set[str] = set()
    todo = [_name(requirement) for requirement in requirements]
    while todo:
        name = todo.pop()
        if name in brought:
            continue
        brought.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # such as one for another system
            continue
        todo += [_name(requirement) for requirement in needed if "extra ==" not in requirement]
    hidden = {module for module, owners in _owners_of().items() if not brought & {*map(_name, owners)}}
    return hidden - {"llmguide"}


_owners_of = cache(metadata.packages_distributions)  # takes a second


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


class _Without:
    """Finds what another finder finds, but for what is hidden."""

    def __init__(self, finder, hidden):
        self.finder, self.hidden = finder, hidden

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in self.hidden:
            return None
        return self.finder.find_spec(fullname, path, target)
