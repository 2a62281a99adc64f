"""Write *The API at a glance*: every public name by chapter, with its summary and one example.

The chapters are the comments of ``src/llmguide/__init__.pyi``. Summary and example come from the docstring:
its first paragraph, and the first use of the name in its doctests, which the test suite runs. A new public
name needs no edit but its docstring.
"""

import ast
from collections.abc import Iterator
from doctest import DocTestParser
from functools import cache
from typing import NamedTuple

from site_tools import ROOT, generated_head

SOURCES = ROOT / "src"
NAMES = SOURCES / "llmguide" / "__init__.pyi"
INTRODUCTION = """
Import each of these names from `llmguide`, for example `from llmguide import attention`. A name is loaded
when it is first used, so `import llmguide` alone takes milliseconds and loads no torch.

Each name links to its signature, arguments and source. Each example is a line of the docstring there, which
defines the variables.
"""


class Name(NamedTuple):
    """A public name, and what the page says of it."""

    chapter: str
    name: str
    module: str  # that defines it
    summary: str
    example: str


def public_names() -> Iterator[Name]:
    """The public names in the order of the guide.

    Raises:
        ValueError: If a name has no docstring, or its docstring does not use it.
    """
    chapter = ""
    for line in NAMES.read_text(encoding="utf-8").partition("__version__")[2].splitlines():
        if line.startswith("# "):
            chapter = line.removeprefix("# ")
        elif line.startswith("from "):
            _, module, _, name, *_ = line.split()
            defined_in = _defining_module(module, name)
            docstrings = _docstrings(defined_in)
            if name not in docstrings:
                raise ValueError(f"{defined_in}.{name} is public and has no docstring")
            own = docstrings.pop(name)
            for docstring in (own, *docstrings.values()):  # an object has no doctests; others may use it
                if example := _first_use(name, docstring):
                    break
            else:
                raise ValueError(f"{defined_in}.{name} is public and its docstring has no example of it")
            yield Name(chapter, name, defined_in, " ".join(own.split("\n\n")[0].split()), example)


@cache
def parsed(module: str) -> ast.Module:
    """The syntax tree of a module or of a folder's ``__init__``.

    Raises:
        ValueError: It is no Python; the message begins ``file:line:``.
    """
    path = SOURCES / module.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    try:
        return ast.parse(source.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{source.relative_to(ROOT).as_posix()}:{error.lineno}: {error.msg}") from None


def _defining_module(module: str, name: str) -> str:
    """Follow the imports of a folder's __init__."""
    for node in parsed(module).body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return _defining_module(str(node.module), name)
    return module


def _docstrings(module: str) -> dict[str, str]:
    """The docstrings of a module: of functions and classes, of methods, below an assignment, and its own."""
    found = {}
    tree = parsed(module)
    scopes: list[ast.Module | ast.ClassDef] = [tree]
    scopes += [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for scope in scopes:
        prefix = "" if isinstance(scope, ast.Module) else f"{scope.name}."
        for node, following in zip(scope.body, [*scope.body[1:], None], strict=True):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[prefix + node.name] = ast.get_docstring(node)
            elif (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                found[prefix + node.target.id] = str(following.value.value)
    found[""] = ast.get_docstring(tree)
    return {name: docstring for name, docstring in found.items() if docstring}


def _first_use(name: str, docstring: str) -> str | None:
    """The first use of a name in doctests, called or as a container, with its assignment, on one line.

    >>> _first_use("f", '''
    ... >>> from llmguide import f
    ... >>> y = f(1,
    ... ...       b=2)
    ... >>> print(f(3))
    ... 3
    ... ''')
    'y = f(1, b=2)'
    """
    for example in DocTestParser().get_examples(docstring):
        for statement in ast.parse(example.source).body:
            for node in ast.walk(statement):
                if _uses(node, name):
                    shown = statement if getattr(statement, "value", None) is node else node
                    return " ".join(str(ast.get_source_segment(example.source, shown)).split())
    return None


def _uses(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Call):
        called = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        used = [called, *node.args]  # a protocol is an argument of isinstance
    elif isinstance(node, ast.Subscript):
        used = [node.value]
    else:
        return False
    return any(isinstance(one, ast.Name) and one.id == name for one in used)


def page() -> str:
    """The page, in Markdown."""
    head = generated_head(
        "The API at a glance",
        "Every public name of llmguide by chapter, with what it does and one example.",
        "site_tools/content/api.py from the docstrings",
        edit="src/llmguide/__init__.pyi",
    )
    parts, chapter = [head + INTRODUCTION], None
    for found in public_names():
        if found.chapter != chapter:
            chapter = found.chapter
            parts.append(f"## {chapter}\n")
        link = f"[`{found.name}`][{found.module}.{found.name}]"
        parts.append(f"{link}\n:   {found.summary}\n\n    `#!python {found.example}`\n")
    return "\n".join(parts)
