r"""Facts of a domain that a program can check: what Python's standard library holds.

They are read from the source of the Python that runs, which is parsed and not executed: for each public
function and class its package, kind, first parameter or base, and the summary that its docstring begins with.
They differ between versions of Python.

| relation | asks for | guessable from the name |
| --- | --- | --- |
| package | the package that has a name | sometimes, as of ``S_ISDIR`` |
| kind | function, class or exception | mostly: case and ending tell |
| parameter | the first of a function | sometimes |
| base | of a class | sometimes |
| summary | the name that does what a sentence says | when they share words |

Leaves out: what is written in C, such as `math`; methods; names that two packages have.
"""

import ast
import random
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

Relation = Literal["package", "kind", "parameter", "base", "summary"]
RELATIONS: tuple[Relation, ...] = ("package", "kind", "parameter", "base", "summary")
# no modules to import: tests, programs, copies for one platform, and what builds Python itself
_SKIPPED = frozenset(["test", "tests", "idlelib", "lib2to3", "distutils", "site-packages", "dist-packages"])
Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_NODES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|\d+")


class Fact(NamedTuple):
    """Something that is so.

    Attributes:
        relation: Name of the relation.
        name: Function, class or exception that the fact is about.
        value: The package, kind, parameter or base; or the summary, and then the name is asked for.
    """

    relation: Relation
    name: str
    value: str


@cache
def facts() -> tuple[Fact, ...]:
    """Read the facts of the running Python, some seconds."""
    found: dict[str, tuple[str, Node]] = {}
    several = set()
    for package, node in _definitions(Path(sysconfig.get_path("stdlib"))):
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
    """Return all names that there are facts about.

    >>> {"bisect_left", "JSONDecodeError"} <= set(names())
    True
    """
    return list(dict.fromkeys(fact.name for fact in facts()))


def invented(n: int, real: list[str]) -> list[str]:
    """Make up names from the parts of real ones; always the same for the same ones.

    Each keeps the style of a real name, with one of its parts taken from another.

    Args:
        n: Number of names.
        real: Names to take apart; none of them is made up.

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


def _definitions(
    root: Path,
) -> Iterator[tuple[str, Node]]:
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        package = inside.parts[0].removesuffix(".py")
        if package.startswith("_") or package not in sys.stdlib_module_names or _SKIPPED & set(inside.parts):
            continue
        try:
            with tokenize.open(path) as file:  # honors the coding line
                tree = ast.parse(file.read())
        except (SyntaxError, UnicodeDecodeError):  # files that are broken on purpose
            continue
        for node in tree.body:
            if isinstance(node, _NODES) and not node.name.startswith("_"):
                yield package, node


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
    """The last part of the name of the first base; empty if there is none."""
    if not isinstance(node, ast.ClassDef) or not node.bases:
        return ""
    return ast.unparse(node.bases[0]).rpartition(".")[2]


def _is_exception(name: str, bases: dict[str, str]) -> bool:
    met: set[str] = set()
    while name in bases and name not in met:
        met.add(name)
        name = bases[name]
    return name in {"BaseException", "Exception", "Warning"} or name.endswith(("Error", "Warning"))
