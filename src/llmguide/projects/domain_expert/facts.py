r"""Facts that a program can check: the names in Python's standard library.

They are read from the source of the running Python, which is parsed but not executed: for each public
function and class its package, kind, first parameter or base class, and the first sentence of its docstring.
They differ between versions of Python.

| relation | question asks for | guessable from the name |
| --- | --- | --- |
| package | the package of a name | sometimes, such as for ``S_ISDIR`` |
| kind | function, class or exception | mostly, from case and ending |
| parameter | the first parameter of a function | sometimes |
| base | the base class of a class | sometimes |
| summary | the name that a sentence describes | when they share words |

Leaves out: modules written in C, such as `math`; methods; names that two packages share.
"""

import ast
import random
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from llmguide.data.corpora import standard_library_sources

Relation = Literal["package", "kind", "parameter", "base", "summary"]
RELATIONS: tuple[Relation, ...] = ("package", "kind", "parameter", "base", "summary")
# not modules to import: tests, programs, copies for one platform, and build tools of Python itself
_SKIPPED = frozenset(["test", "tests", "idlelib", "lib2to3", "distutils", "site-packages", "dist-packages"])
Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_NODES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|\d+")


class Fact(NamedTuple):
    """A fact about a name.

    Attributes:
        relation: Name of the relation.
        name: Function, class or exception that the fact is about.
        value: Package, kind, parameter or base class; or the summary, in which case the question asks for the
            name.
    """

    relation: Relation
    name: str
    value: str


@cache
def facts() -> tuple[Fact, ...]:
    """Read the facts of the running Python; takes some seconds."""
    found: dict[str, tuple[str, Node]] = {}
    several = set()
    for package, node in _definitions():
        if found.setdefault(node.name, (package, node))[0] != package:
            several.add(node.name)
    bases = {name: _base(node) for name, (_, node) in found.items()}
    return tuple(
        fact
        for name, (package, node) in sorted(found.items())
        if name not in several
        for fact in _facts_of(package, node, bases)
    )


def names() -> list[str]:
    """Return the names of all facts."""
    return list(dict.fromkeys(fact.name for fact in facts()))


def invented(n: int, real: list[str]) -> list[str]:
    """Make up names from the parts of real ones, deterministically.

    Each has the style of a real name, with one part replaced by that of another name.

    Args:
        n: Number of names.
        real: Names whose parts are combined; none of them is returned.

    >>> invented(2, ["get_path", "set_name"])
    ['get_name', 'set_path']
    """
    draw, taken = random.Random(0), set(real)
    found: set[str] = set()
    styles = [[name for name in real if ("_" in name, name[0].isupper()) == style] for style in _STYLES]
    pools = [pool for pool in styles if len(pool) > 1]
    for _ in range(100 * n):
        one, other = draw.sample(draw.choices(pools, weights=[len(pool) for pool in pools])[0], 2)
        ends = list(_PARTS.finditer(other))
        starts = list(_PARTS.finditer(one))
        if len(starts) > 1 and len(ends) > 1:
            name = one[: starts[-1].start()] + ends[-1][0]
            if name not in taken:
                found.add(name)
        if len(found) == n:
            break
    return sorted(found)


_STYLES = [(under, upper) for under in (False, True) for upper in (False, True)]


def _package(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def _is_public(path: Path) -> bool:
    package = _package(path)
    return (
        not package.startswith("_") and package in sys.stdlib_module_names and _SKIPPED.isdisjoint(path.parts)
    )


def _definitions() -> Iterator[tuple[str, Node]]:
    for path, source in standard_library_sources(_is_public):
        with suppress(SyntaxError):  # test files with deliberate syntax errors
            for node in ast.parse(source).body:
                if isinstance(node, _NODES) and not node.name.startswith("_"):
                    del node.body[1:]  # all but a docstring: many trees make garbage collection slow
                    yield _package(path), node


def _facts_of(package: str, node: Node, bases: dict[str, str]) -> Iterator[Fact]:
    name, base = node.name, bases[node.name]
    yield Fact("package", name, package)
    if isinstance(node, ast.ClassDef):
        yield Fact("kind", name, "exception" if _is_exception(name, bases) else "class")
        if base.isidentifier() and not base.startswith("_") and base != "object":
            yield Fact("base", name, base)
    else:
        yield Fact("kind", name, "function")
        if parameters := [*node.args.posonlyargs, *node.args.args]:
            yield Fact("parameter", name, parameters[0].arg)
    if text := ast.get_docstring(node):
        yield Fact("summary", name, " ".join(text.split("\n\n")[0].split()))


def _base(node: Node) -> str:
    """Return the last part of the name of the first base class; empty if there is none."""
    if not isinstance(node, ast.ClassDef) or not node.bases:
        return ""
    return ast.unparse(node.bases[0]).rpartition(".")[2]


def _is_exception(name: str, bases: dict[str, str]) -> bool:
    met: set[str] = set()
    while name in bases and name not in met:
        met.add(name)
        name = bases[name]
    return name in {"BaseException", "Exception", "Warning"} or name.endswith(("Error", "Warning"))
